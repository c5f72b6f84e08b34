"""What a handler raises whose work cannot be done now, and may be done later."""

from __future__ import annotations


class RetryLater(Exception):
    """The attempt has failed, and another one is worth it after so many seconds.

    There is one only if the task's retry policy allows it. Any other exception says the same by a `retry_after` of its
    own: seconds, or a timedelta.
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(message or f"worth another try in {seconds:g} s")
        self.retry_after = seconds
