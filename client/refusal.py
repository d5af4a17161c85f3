"""What the user can mend: every error of this package is one, and its message is for the user."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818  # it says no, and why
    """Something that was not done; the message says what was found, what was expected, the cure."""
