"""What the functions of this package raise."""


class Error(RuntimeError):
    """I/O, memory, or numbers that are not finite. The message is that of the natrix program."""


class InputError(Error, ValueError):
    """A path, an option, an array or a file's content is at fault. The message says what was expected."""
