"""Exceptions of this app."""


class TaskCanceledException(RuntimeError):
    """Raised inside a task's body when its workflow was canceled, to stop the execution."""


class InvalidUser(TypeError):
    """A workflow needs a saved user: the one who may see and cancel it."""


class InvalidCanvas(ValueError):
    """The canvas cannot be tracked as it stands; the message says which part and why."""


class TreeOperationRefused(NotImplementedError):
    """An inherited MPTT operation that would break a tree while workers write to it."""
