"""A file per emitter: where each field of a call stands in its spans, and its token rule."""
