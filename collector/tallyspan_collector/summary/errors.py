"""What a question is refused with."""


class RequestError(ValueError):
    """The question cannot be answered as asked; says which parameter and what is allowed."""
