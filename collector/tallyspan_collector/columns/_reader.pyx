# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled reader: walks a request's bytes and writes the values of columns as they pass by.

Same behaviour as `python_reader.py`, but for a request that is not laid out as encoders do: it
leaves as a whole.
"""

from collections import Counter

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan.semconv import ERROR_TYPE
from tallyspan_collector.columns import shapes as of_shapes
from tallyspan_collector.columns.part import Part
from tallyspan_collector.columns.shapes import Outcome, Role, Shape, error_attribute, refusals
from tallyspan_collector.dialects.interpreter import CLIENT as KIND_OF_CLIENT
from tallyspan_collector.dialects.values import text as text_of
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import wire

ctypedef const uint8_t* Bytes

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static inline uint64_t hashed(uint64_t hash, const uint8_t* at, long size) {
        uint64_t word;
        for (; size >= 8; at += 8, size -= 8) {
            memcpy(&word, at, 8);
            hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
            hash ^= hash >> 29;
        }
        word = (uint64_t) size << 56;
        memcpy(&word, at, size);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
        return hash ^ hash >> 32;
    }
    static inline uint64_t big_endian(const uint8_t* at) {
        uint64_t word;
        memcpy(&word, at, 8);
        return __builtin_bswap64(word);
    }
    static inline uint64_t shifted_remainder(uint64_t high, uint64_t low, uint64_t prime) {
        return (uint64_t) (((unsigned __int128) high << 64 | low) % prime);
    }
    """
    uint64_t hashed(uint64_t, Bytes, long) nogil
    uint64_t big_endian(Bytes) nogil
    uint64_t shifted_remainder(uint64_t, uint64_t, uint64_t) nogil
    const char* READER_SOURCE

SOURCE = READER_SOURCE.decode()
"""The digest of the file that this module was compiled from: see `reader.py`."""

cdef enum:
    PLACES = 128  # MAX_ATTRIBUTES
    KEY_BYTES = 127  # MAX_KEY_BYTES
    DEPTH = 8
    TRACE_ID = 16
    SPAN_ID = 8
    ROW_OF_IDS = 40  # ID_BYTES
    KEPT_BYTES = 65_536
    RECENT = 8
    MAX_NEEDLES = 32
if (PLACES, KEY_BYTES) != (of_shapes.MAX_ATTRIBUTES, of_shapes.MAX_KEY_BYTES):
    raise ImportError("the reader was compiled for other bounds")
cdef int SKIP = Role.SKIP, REPEAT = Role.REPEAT, TEXT = Role.TEXT, COUNT = Role.COUNT
cdef int CONTENT = Role.CONTENT, SECONDS = Role.SECONDS, AMOUNT = Role.AMOUNT
cdef int NOT_A_CALL = Outcome.NOT_A_CALL, ATTRIBUTE = Outcome.ATTRIBUTE, IDS = Outcome.IDS
cdef int VALUE = Outcome.VALUE, SORTS = Outcome.SORTS, LAYOUT = Outcome.LAYOUT
cdef int AGENT = Outcome.AGENT, CLIENT = KIND_OF_CLIENT
cdef uint64_t MAX_COUNT = of_shapes.MAX_COUNT
cdef bytes ERROR_PREFIX = b"\x0a%c%b\x12" % (len(ERROR_TYPE), ERROR_TYPE.encode())


class LayoutError(Exception):
    """The bytes are not laid out as encoders do; protobuf's parser must say what they are."""


cdef class Buffer:
    """Bytes that grow."""

    cdef uint8_t* at
    cdef Py_ssize_t size, room

    def __cinit__(self):
        self.at = NULL
        self.size = self.room = 0

    def __dealloc__(self):
        free(self.at)

    cdef int put(self, const void* values, Py_ssize_t size) except -1:
        cdef Py_ssize_t room = self.room
        cdef uint8_t* moved
        if self.size + size > room:
            room = room if room else 256
            while self.size + size > room:
                room *= 2
            moved = <uint8_t*>realloc(self.at, room)
            if moved == NULL:
                raise MemoryError
            self.at, self.room = moved, room
        memcpy(self.at + self.size, values, size)
        self.size += size
        return 0

    cdef bytes take(self):
        cdef bytes values = PyBytes_FromStringAndSize(<const char*>self.at, self.size)
        self.size = 0
        if self.room > KEPT_BYTES:
            free(self.at)
            self.at = NULL
            self.room = 0
        return values


cdef int varint(Bytes* place, Bytes end, uint64_t* number) except -1:
    """Read an integer of a sound message."""
    cdef Bytes at = place[0]
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef uint8_t byte = 0x80
    while byte > 0x7F:
        if at >= end or shift > 63 or (shift == 63 and at[0] > 1):
            raise LayoutError
        byte = at[0]
        value |= <uint64_t>(byte & 0x7F) << shift
        shift += 7
        at += 1
    place[0] = at
    number[0] = value
    return 0


cdef inline int tag_of(Bytes* place, Bytes end, uint64_t* tag) except -1:
    if place[0] < end and 8 <= place[0][0] < 0x80:
        tag[0] = place[0][0]
        place[0] += 1
        return 0
    varint(place, end, tag)
    if tag[0] > <uint64_t>0xFFFFFFFF or tag[0] < 8:
        raise LayoutError
    return 0


cdef inline int length_of(Bytes* place, Bytes end, uint64_t* length) except -1:
    varint(place, end, length)
    if length[0] > <uint64_t>(end - place[0]):
        raise LayoutError
    return 0


cdef int skip(Bytes* place, Bytes end, int kind) except -1:
    """Go past a field of a kind."""
    cdef uint64_t number
    if kind == 2:
        length_of(place, end, &number)
    elif kind == 0:
        varint(place, end, &number)
        number = 0
    elif kind == 1:
        number = 8
    elif kind == 5:
        number = 4
    else:
        raise LayoutError
    if number > <uint64_t>(end - place[0]):
        raise LayoutError
    place[0] += number
    return 0


cdef inline bint short_varint(Bytes* place, Bytes end, int most, uint64_t* number) noexcept:
    """Read an integer of an attribute, of at most so many bytes; False: it has more, or is cut."""
    cdef Bytes at = place[0]
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef uint8_t byte
    while at < end and shift < 7 * most:
        byte = at[0]
        value |= <uint64_t>(byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            place[0] = at
            number[0] = value
            return True
    return False


cdef inline bint is_whole(Bytes* place, Bytes end) noexcept:
    """Whether the length at a place is that of the rest; then go past it."""
    cdef uint64_t length
    return short_varint(place, end, 5, &length) and length == <uint64_t>(end - place[0])


cdef bint is_text(Bytes at, Bytes end):
    """Whether the bytes are UTF-8."""
    cdef Bytes begin = at
    while at < end:
        if at[0] > 0x7F:
            try:
                PyUnicode_DecodeUTF8(<const char*>begin, end - begin, NULL)
            except UnicodeDecodeError:
                return False
            return True
        at += 1
    return True


cdef bint is_value(Bytes at, Bytes end, int depth):
    """Whether the bytes are a value that is laid out as usual."""
    cdef uint8_t kind
    cdef uint64_t number
    cdef Bytes start
    if at == end:
        return True
    kind = at[0]
    at += 1
    if kind == 0x0A:
        return is_whole(&at, end) and is_text(at, end)
    if kind == 0x3A:
        return is_whole(&at, end)
    if kind == 0x10:
        return end - at == 1 and at[0] < 2
    if kind == 0x18:
        start = at
        if not short_varint(&at, end, 10, &number) or at != end:
            return False
        return at - start < 10 or start[9] < 2
    if kind == 0x21:
        return end - at == 8
    if kind != 0x2A or not is_whole(&at, end):
        return False
    depth += 1
    while at < end:
        if at[0] != 0x0A or depth > DEPTH:
            return False
        at += 1
        if not short_varint(&at, end, 5, &number) or number > <uint64_t>(end - at):
            return False
        if not is_value(at, at + number, depth):
            return False
        at += number
    return True


cdef inline bint text_at(Bytes* place, Bytes end) noexcept:
    """Go to the text of a value whose length is at a place; False: it is no text."""
    if not is_whole(place, end) or place[0] == end or place[0][0] != 0x0A:
        return False
    place[0] += 1
    return is_whole(place, end)


cdef inline int64_t count_at(Bytes at, Bytes end) noexcept:
    """Return the count whose value's length is at a place; -1: it is none."""
    cdef uint64_t count
    if not is_whole(&at, end) or at == end or at[0] != 0x18:
        return -1
    at += 1
    if not short_varint(&at, end, 9, &count) or at != end or count >= MAX_COUNT:
        return -1
    return <int64_t>count


cdef inline object text_between(Bytes at, Bytes end):
    """Return the text as `values.text` has it."""
    cdef Py_ssize_t size = end - at
    cdef uint8_t first, second, last
    if size == 0:
        return ""
    text = PyUnicode_DecodeUTF8(<const char*>at, size, NULL)
    first, last = at[0], at[size - 1]
    if first <= 0x20 or first > 0x7E or last <= 0x20 or last > 0x7E:
        return text_of(text)
    if 4 <= size <= 9:  # none, null, unknown, undefined
        first, second = first | 0x20, at[1] | 0x20
        if (first == c"n" or first == c"u") and (
            second == c"o" or second == c"u" or second == c"n"
        ):
            return text_of(text)
    return text


cdef struct Span:
    Bytes ids[3]
    uint64_t id_size[3]
    uint64_t times[2]
    Bytes name
    Py_ssize_t name_size
    int32_t status
    uint64_t kind
    int places
    Bytes start[PLACES + 1]
    Bytes end[PLACES + 1]


cdef class Columns:
    """The columns of a shape so far, and the bytes by which its sorts are found."""

    cdef object shape
    cdef tuple prefixes
    cdef Bytes prefix[PLACES]
    cdef int prefix_size[PLACES]
    cdef int role[PLACES]
    cdef int column[PLACES]
    cdef int places, rows, mark
    cdef bint has_name, is_touched, is_open
    cdef Buffer ids, times, errors, sorts, requests, seconds
    cdef list counts, texts, amounts
    cdef set agents
    # sorts by their bytes: hash, place and size in `arena`, number; place -1: the slot is free
    cdef uint64_t* hashes
    cdef int64_t* starts
    cdef int64_t* sizes
    cdef int32_t* numbers
    cdef int slots, used
    cdef Buffer arena

    def __cinit__(self, shape):
        cdef int at
        layout = shape.layout
        self.shape = shape
        self.agents = shape.agents
        self.prefixes = layout.prefixes
        self.places = <int>len(layout.prefixes)
        for at in range(self.places):
            self.prefix[at] = <Bytes>PyBytes_AS_STRING(layout.prefixes[at])
            self.prefix_size[at] = <int>len(layout.prefixes[at])
            self.role[at] = layout.roles[at]
            self.column[at] = layout.columns[at]
        self.has_name = bool(layout.plan.dialect.span_names)
        self.ids, self.times, self.errors, self.sorts = Buffer(), Buffer(), Buffer(), Buffer()
        self.requests, self.seconds, self.arena = Buffer(), Buffer(), Buffer()
        self.counts = [Buffer() for _ in layout.counts]
        self.texts = [[] for _ in layout.texts]
        self.amounts = [[] for _ in range(layout.amounts)]
        self.rows = self.mark = 0
        self.is_touched = self.is_open = False
        self.slots = self.used = 0
        self._grow()

    def __dealloc__(self):
        free(self.hashes)
        free(self.starts)
        free(self.sizes)
        free(self.numbers)

    cdef int _grow(self) except -1:
        """Make room for twice as many sorts."""
        cdef int slots = self.slots * 2 if self.slots else 16
        cdef uint64_t* hashes = <uint64_t*>malloc(slots * sizeof(uint64_t))
        cdef int64_t* starts = <int64_t*>malloc(slots * sizeof(int64_t))
        cdef int64_t* sizes = <int64_t*>malloc(slots * sizeof(int64_t))
        cdef int32_t* numbers = <int32_t*>malloc(slots * sizeof(int32_t))
        cdef int old, slot
        if hashes == NULL or starts == NULL or sizes == NULL or numbers == NULL:
            free(hashes)
            free(starts)
            free(sizes)
            free(numbers)
            raise MemoryError
        for slot in range(slots):
            starts[slot] = -1
        for old in range(self.slots):
            if self.starts[old] >= 0:
                slot = <int>(self.hashes[old] & <uint64_t>(slots - 1))
                while starts[slot] >= 0:
                    slot = (slot + 1) & (slots - 1)
                hashes[slot], starts[slot] = self.hashes[old], self.starts[old]
                sizes[slot], numbers[slot] = self.sizes[old], self.numbers[old]
        free(self.hashes)
        free(self.starts)
        free(self.sizes)
        free(self.numbers)
        self.hashes, self.starts, self.sizes, self.numbers = hashes, starts, sizes, numbers
        self.slots = slots
        return 0

    cdef bint is_of(self, Span* span) noexcept:
        """Whether the span's attributes have the shape's keys, and values that fill them."""
        cdef int at
        cdef Bytes place
        cdef int size
        if span.places != self.places:
            return False
        for at in range(self.places):
            size = self.prefix_size[at]
            if span.end[at] - span.start[at] <= size or memcmp(
                span.start[at], self.prefix[at], size
            ):
                return False
            place = span.start[at] + size
            if not is_whole(&place, span.end[at]):
                return False
        return True

    cdef bint is_readable(self, Span* span, int role):
        """Whether the attributes of a role can be read."""
        cdef int at
        cdef Bytes place
        for at in range(self.places):
            if self.role[at] == role:
                place = span.start[at] + self.prefix_size[at]
                is_whole(&place, span.end[at])
                if not is_value(place, span.end[at], 0):
                    return False
        return True

    cdef int sort_of(self, Span* span) except? -99:
        """Return the number of the sort the span's repeating attributes make, or its outcome."""
        cdef uint64_t value = 0
        cdef int64_t total = 0
        cdef int at, slot
        cdef Py_ssize_t size
        cdef Bytes kept
        for at in range(self.places):
            if self.role[at] == REPEAT:
                size = span.end[at] - span.start[at]
                value = hashed(value, span.start[at], size)
                total += size
        if self.has_name:
            value = hashed(value, span.name, span.name_size)
            total += span.name_size
        slot = <int>(value & <uint64_t>(self.slots - 1))
        while self.starts[slot] >= 0:
            if self.hashes[slot] == value and self.sizes[slot] == total:
                kept = self.arena.at + self.starts[slot]
                for at in range(self.places):
                    if self.role[at] == REPEAT:
                        size = span.end[at] - span.start[at]
                        # attributes have their lengths in them: equal bytes are cut alike
                        if memcmp(kept, span.start[at], size):
                            break
                        kept += size
                else:
                    if not self.has_name or not memcmp(kept, span.name, span.name_size):
                        return self.numbers[slot]
            slot = (slot + 1) & (self.slots - 1)
        return self._new_sort(span, value, total)

    cdef int _new_sort(self, Span* span, uint64_t value, int64_t total) except? -99:
        cdef int at, slot
        if not self.is_readable(span, REPEAT):
            return ATTRIBUTE
        raws = [
            PyBytes_FromStringAndSize(<const char*>span.start[at], span.end[at] - span.start[at])
            for at in range(self.places)
            if self.role[at] == REPEAT
        ]
        name = PyBytes_FromStringAndSize(<const char*>span.name, span.name_size)
        cdef int number = self.shape.sort(raws, name if self.has_name else b"")
        if number == SORTS:
            return number
        if 2 * self.used >= self.slots:
            self._grow()
        slot = <int>(value & <uint64_t>(self.slots - 1))
        while self.starts[slot] >= 0:
            slot = (slot + 1) & (self.slots - 1)
        self.hashes[slot], self.starts[slot] = value, self.arena.size
        self.sizes[slot], self.numbers[slot] = total, number
        self.used += 1
        for raw in raws:
            self.arena.put(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
        if self.has_name:
            self.arena.put(span.name, span.name_size)
        # the place of an empty one must be a byte of the arena, too
        self.arena.put(b"\0", 1)
        return number

    cdef bint are_values(self, Span* span):
        """Whether the values of all columns are what they should be."""
        cdef int at, role
        cdef Bytes place
        cdef Bytes end
        for at in range(self.places):
            role = self.role[at]
            if role <= REPEAT:
                continue
            place, end = span.start[at] + self.prefix_size[at], span.end[at]
            if role == TEXT:
                if not text_at(&place, end) or not is_text(place, end):
                    return False
            elif role == COUNT:
                if count_at(place, end) < 0:
                    return False
            elif end - place != 10 or place[0] != 9 or place[1] != 0x21:
                return False
        return True

    cdef int put(self, Span* span, int32_t number, int32_t request) except -1:
        """Add a row; its values are what they should be."""
        cdef int at, role
        cdef Bytes place
        cdef Bytes end
        cdef int64_t count, flag = 1 if span.id_size[2] else 0, none = 0
        cdef uint64_t times[2]
        cdef uint8_t is_error = span.status == 2
        cdef double amount
        self.ids.put(span.ids[0], TRACE_ID)
        self.ids.put(span.ids[1], SPAN_ID)
        self.ids.put(span.ids[2] if flag else <Bytes>&none, SPAN_ID)
        self.ids.put(&flag, 8)
        times[0] = span.times[0] if span.times[0] else span.times[1]
        times[1] = max(span.times[0], span.times[1])
        self.times.put(times, 16)
        self.errors.put(&is_error, 1)
        self.sorts.put(&number, 4)
        self.requests.put(&request, 4)
        for at in range(self.places):
            role = self.role[at]
            if role <= REPEAT:
                continue
            place, end = span.start[at] + self.prefix_size[at], span.end[at]
            if role == TEXT:
                text_at(&place, end)
                (<list>self.texts[self.column[at]]).append(text_between(place, end))
            elif role == COUNT:
                count = count_at(place, end)
                (<Buffer>self.counts[self.column[at]]).put(&count, 8)
            elif role == SECONDS:
                self.seconds.put(place + 2, 8)
            else:
                memcpy(&amount, place + 2, 8)
                (<list>self.amounts[self.column[at]]).append(amount)
        self.rows += 1
        return 0

    cdef int cut(self) except -1:
        """Forget the rows that were added since the mark."""
        cdef int rows = self.mark
        self.rows = rows
        self.ids.size, self.times.size, self.errors.size = ROW_OF_IDS * rows, 16 * rows, rows
        self.sorts.size = self.requests.size = 4 * rows
        if self.shape.layout.has_seconds:
            self.seconds.size = 8 * rows
        for column in self.counts:
            (<Buffer>column).size = 8 * rows
        for column in (*self.texts, *self.amounts):
            del column[rows:]
        return 0

    cdef object take(self):
        """Return the rows so far, and begin anew."""
        part = Part(
            self.shape,
            self.rows,
            self.ids.take(),
            self.times.take(),
            self.errors.take(),
            self.sorts.take(),
            self.requests.take(),
            [(<Buffer>column).take() for column in self.counts],
            self.texts,
            self.seconds.take(),
            self.amounts,
        )
        self.texts = [[] for _ in self.texts]
        self.amounts = [[] for _ in self.amounts]
        self.rows = 0
        return part


cdef class Decoder:
    """Gathers the columns of the spans of several requests; see `python_reader.Decoder`."""

    cdef object shapes
    cdef list opened, touched, recent
    cdef readonly object refused
    cdef public long not_calls
    cdef long outcomes[32]

    def __cinit__(self, shapes):
        self.shapes = shapes
        self.opened, self.touched, self.recent = [], [], []
        self.refused = Counter()
        self.not_calls = 0

    def add(self, bytes body not None, int request):
        """Take a request's spans in; return requests of those that are to be read one by one."""
        cdef int at
        for at in range(32):
            self.outcomes[at] = 0
        self.touched = []
        try:
            leaving = self._walk(body, request)
        except LayoutError:
            self._cut()
            return self._as_a_whole(body)
        except BaseException:
            self._cut()
            raise
        finally:
            for columns in self.touched:
                (<Columns>columns).is_touched = False
        self.not_calls += self.outcomes[-NOT_A_CALL]
        self.refused += refusals({-at: self.outcomes[at] for at in range(1, 32)})
        return leaving

    @property
    def rows(self):
        """How many rows there are since the last `take`."""
        return sum((<Columns>columns).rows for columns in self.opened)

    def take(self):
        """Return the columns of every shape that has some, and begin anew."""
        parts = []
        for columns in self.opened:
            (<Columns>columns).is_open = False
            if (<Columns>columns).rows:
                parts.append((<Columns>columns).take())
        self.opened, self.touched, self.recent = [], [], []
        self.shapes.renew()
        return parts

    cdef int _cut(self) except -1:
        for columns in self.touched:
            (<Columns>columns).cut()
        return 0

    cdef list _as_a_whole(self, bytes body):
        try:
            spans = sum(
                len(wire.ScopeSpans.FromString(raw).spans)
                for of_resource in wire.Export.FromString(body).of_resources
                for raw in of_resource.of_scopes
            )
        except ProtobufError as error:
            raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
        self.refused += refusals({LAYOUT: spans})
        return [body]

    cdef list _walk(self, bytes body, int request):
        cdef Bytes at = <Bytes>PyBytes_AS_STRING(body)
        cdef Bytes end = at + PyBytes_GET_SIZE(body)
        cdef Bytes place
        cdef Bytes until
        cdef uint64_t tag, length
        cdef bytes resource
        cdef bint has_scopes
        cdef list leaving = []
        while at < end:
            tag_of(&at, end, &tag)
            if tag != 0x0A:
                skip(&at, end, tag & 7)
                continue
            length_of(&at, end, &length)
            until = at + length
            resource = _last_of(at, until, 0x0A)
            has_scopes = False
            place = at
            while place < until:
                tag_of(&place, until, &tag)
                if tag != 0x12:
                    skip(&place, until, tag & 7)
                    continue
                length_of(&place, until, &length)
                self._scope(place, place + length, resource, request, leaving)
                has_scopes = True
                place += length
            if not has_scopes:
                self.shapes.origin(resource, b"")  # it must be readable as well
            at = until
        return leaving

    cdef int _scope(self, Bytes at, Bytes end, bytes resource, int request, list leaving) except -1:
        cdef uint64_t tag, length
        cdef bytes scope = _last_of(at, end, 0x0A)
        cdef list spans = []
        cdef int outcome
        origin = self.shapes.origin(resource, scope)
        self.recent = []
        while at < end:
            tag_of(&at, end, &tag)
            if tag != 0x12:
                skip(&at, end, tag & 7)
                continue
            length_of(&at, end, &length)
            outcome = self._span(at, at + length, origin, request)
            if outcome < 0:
                self.outcomes[-outcome] += 1
                if outcome != NOT_A_CALL:
                    spans.append(PyBytes_FromStringAndSize(<const char*>at, length))
            at += length
        if spans:
            of_scope = _field(0x0A, scope) + b"".join([_field(0x12, span) for span in spans])
            leaving.append(_field(0x0A, _field(0x0A, resource) + _field(0x12, of_scope)))
        return 0

    cdef int _span(self, Bytes at, Bytes end, object origin, int request) except? -99:
        """Take a span in; return 0, or its `Outcome`."""
        cdef Span span
        cdef Bytes message = at
        cdef Py_ssize_t message_size = 0
        cdef bytes named
        cdef Columns columns = None
        cdef int number
        span.places = 0
        span.status = 0
        span.kind = 0
        _fill(&span, at, end, &message, &message_size)
        if span.places > PLACES:
            return ATTRIBUTE
        if span.status == 2 and not _names_error(&span):
            named = error_attribute(PyBytes_FromStringAndSize(<const char*>message, message_size))
            if named:
                if span.places == PLACES:
                    return ATTRIBUTE
                span.start[span.places] = <Bytes>PyBytes_AS_STRING(named)
                span.end[span.places] = span.start[span.places] + PyBytes_GET_SIZE(named)
                span.places += 1
        for each in self.recent:
            if (<Columns>each).is_of(&span):
                columns = <Columns>each
                break
        if columns is None:
            keys = _keys(&span)
            if keys is None:
                return ATTRIBUTE
            shape = self.shapes.shape(origin, keys)
            if not isinstance(shape, Shape):
                return shape
            columns = shape.reader
            if columns is None:
                columns = shape.reader = Columns(shape)
            if len(self.recent) >= RECENT:
                self.recent.pop()
            self.recent.insert(0, columns)
        if not columns.is_readable(&span, SKIP):
            return ATTRIBUTE
        number = columns.sort_of(&span)
        if number < 0:
            return number
        if <int32_t>span.kind == CLIENT and columns.agents and number in columns.agents:
            return AGENT
        if (
            span.id_size[0] != TRACE_ID
            or span.id_size[1] != SPAN_ID
            or (span.id_size[2] != 0 and span.id_size[2] != SPAN_ID)
            or (span.times[0] | span.times[1]) >> 62
        ):
            return IDS
        if not columns.are_values(&span):
            return VALUE
        if not columns.is_touched:
            columns.is_touched = True
            columns.mark = columns.rows
            self.touched.append(columns)
            if not columns.is_open:
                columns.is_open = True
                self.opened.append(columns)
        columns.put(&span, number, request)
        return 0


cdef int _fill(
    Span* span, Bytes at, Bytes end, Bytes* message, Py_ssize_t* message_size
) except -1:
    """Find the fields of a span; more than PLACES attributes are only counted."""
    cdef uint64_t tag, length, code
    cdef Bytes place
    cdef int which
    span.name = at
    span.name_size = 0
    span.times[0] = span.times[1] = 0
    for which in range(3):
        span.ids[which] = at
        span.id_size[which] = 0
    while at < end:
        tag_of(&at, end, &tag)
        if tag == 0x4A:
            length_of(&at, end, &length)
            if span.places < PLACES:
                span.start[span.places] = at
                span.end[span.places] = at + length
            if span.places <= PLACES:
                span.places += 1
            at += length
        elif tag == 0x0A or tag == 0x12 or tag == 0x22:
            length_of(&at, end, &length)
            which = 0 if tag == 0x0A else 1 if tag == 0x12 else 2
            span.ids[which] = at
            span.id_size[which] = length
            at += length
        elif tag == 0x39 or tag == 0x41:
            if end - at < 8:
                raise LayoutError
            memcpy(&span.times[0 if tag == 0x39 else 1], at, 8)
            at += 8
        elif tag == 0x2A:
            length_of(&at, end, &length)
            span.name = at
            span.name_size = length
            at += length
        elif tag == 0x30:
            varint(&at, end, &span.kind)
        elif tag == 0x7A:
            length_of(&at, end, &length)
            place = at
            at += length
            while place < at:
                tag_of(&place, at, &tag)
                if tag == 0x18:
                    varint(&place, at, &code)
                    span.status = <int32_t>code
                elif tag == 0x12:
                    length_of(&place, at, &length)
                    message[0] = place
                    message_size[0] = length
                    place += length
                else:
                    skip(&place, at, tag & 7)
        else:
            skip(&at, end, tag & 7)
    return 0


cdef bint _names_error(Span* span) noexcept:
    """Whether one of the attributes is the error's type."""
    cdef Bytes prefix = <Bytes>PyBytes_AS_STRING(ERROR_PREFIX)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(ERROR_PREFIX)
    cdef int at
    for at in range(span.places):
        if span.end[at] - span.start[at] >= size and not memcmp(span.start[at], prefix, size):
            return True
    return False


cdef tuple _keys(Span* span):
    """Return the keys of the attributes; None: one is not laid out as every encoder does."""
    cdef int at, size
    cdef Bytes place
    cdef list keys = []
    for at in range(span.places):
        place = span.start[at]
        if span.end[at] - place < 4 or place[0] != 0x0A or not 0 < place[1] <= KEY_BYTES:
            return None
        size = place[1]
        place += 2 + size
        if place + 1 >= span.end[at] or place[0] != 0x12:
            return None
        place += 1
        if not is_whole(&place, span.end[at]):
            return None
        keys.append(PyBytes_FromStringAndSize(<const char*>span.start[at] + 2, size))
    return tuple(keys)


cdef bytes _last_of(Bytes at, Bytes end, uint64_t wanted):
    """Return the last field with a tag; empty: there is none."""
    cdef uint64_t tag, length
    cdef Bytes start = at
    cdef uint64_t size = 0
    while at < end:
        tag_of(&at, end, &tag)
        if tag == wanted:
            length_of(&at, end, &length)
            start = at
            size = length
            at += length
        else:
            skip(&at, end, tag & 7)
    return PyBytes_FromStringAndSize(<const char*>start, size)


cdef bytes _field(int tag, bytes content):
    cdef uint8_t head[11]
    cdef uint64_t size = PyBytes_GET_SIZE(content)
    cdef int at = 1
    head[0] = <uint8_t>tag
    while size > 0x7F:
        head[at] = <uint8_t>(size & 0x7F | 0x80)
        size >>= 7
        at += 1
    head[at] = <uint8_t>size
    return PyBytes_FromStringAndSize(<const char*>head, at + 1) + content


def remainders(bytes ids not None, uint64_t prime):
    """Return the remainders of each row's trace, of trace and span, of trace and parent.

    As bytes of uint64; a row without a parent has what its eight zeros give.
    """
    cdef Py_ssize_t rows = PyBytes_GET_SIZE(ids) // ROW_OF_IDS
    cdef Py_ssize_t row
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(ids)
    cdef list columns = [PyBytes_FromStringAndSize(NULL, 8 * rows) for _ in range(3)]
    cdef uint64_t* traces = <uint64_t*>PyBytes_AS_STRING(columns[0])
    cdef uint64_t* spans = <uint64_t*>PyBytes_AS_STRING(columns[1])
    cdef uint64_t* parents = <uint64_t*>PyBytes_AS_STRING(columns[2])
    if not prime:
        raise ValueError("the prime is 0")
    for row in range(rows):
        traces[row] = shifted_remainder(big_endian(at) % prime, big_endian(at + 8), prime)
        spans[row] = shifted_remainder(traces[row], big_endian(at + 16), prime)
        parents[row] = shifted_remainder(traces[row], big_endian(at + 24), prime)
        at += ROW_OF_IDS
    return tuple(columns)


cdef class Needles:
    """Texts that are looked for, each with its size, and the next one with the same last byte."""

    cdef int first[256]
    cdef int following[MAX_NEEDLES]
    cdef Bytes text[MAX_NEEDLES]
    cdef Py_ssize_t size[MAX_NEEDLES]
    cdef int count
    cdef tuple texts

    def __cinit__(self, tuple texts):
        cdef int at
        cdef uint8_t last
        if len(texts) > MAX_NEEDLES or min(map(len, texts)) == 0:
            raise ValueError(f"more than {MAX_NEEDLES} texts, or an empty one")
        self.texts = texts
        self.count = <int>len(texts)
        for at in range(256):
            self.first[at] = -1
        for at in range(self.count):
            self.text[at] = <Bytes>PyBytes_AS_STRING(texts[at])
            self.size[at] = PyBytes_GET_SIZE(texts[at])
            last = self.text[at][self.size[at] - 1]
            self.following[at] = self.first[last]
            self.first[last] = at

    cdef bint are_in(self, Bytes start, Bytes end) noexcept nogil:
        cdef Bytes at = start
        cdef Py_ssize_t size
        cdef int which
        while at < end:
            which = self.first[at[0]]
            while which >= 0:
                size = self.size[which]
                if at - start >= size - 1 and not memcmp(at - size + 1, self.text[which], size):
                    return True
                which = self.following[which]
            at += 1
        return False


cdef dict needles_of = {}


def has_any(bytes body not None, Py_ssize_t start, Py_ssize_t end, tuple texts not None):
    """Whether the part of a body has one of these texts; others go on meanwhile."""
    cdef Needles needles = needles_of.get(texts)
    cdef bint are_in
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(body)
    if needles is None:
        needles = needles_of[texts] = Needles(texts)
    start, end = max(start, 0), min(end, PyBytes_GET_SIZE(body))
    with nogil:
        are_in = needles.are_in(at + start, at + end)
    return are_in
