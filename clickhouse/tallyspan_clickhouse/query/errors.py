"""What is wrong with a request, for whoever made it."""


class RequestError(Exception):
    """The request cannot be answered; the message is a sentence that says what is allowed."""
