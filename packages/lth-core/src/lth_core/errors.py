"""Errors that a user can cause. Each message says what is wrong, where, and what to do."""

from __future__ import annotations


class LTHError(Exception):
    """Base of every error that lth raises on purpose; its message is one line to show a user."""


class ScopeError(LTHError):
    """No weight, or the wrong weight, is in scope of pruning."""


class MaskError(LTHError):
    """A mask does not fit: wrong dtype, name, shape, or an amount that cannot be pruned."""


class TicketError(LTHError):
    """A ticket file is missing, damaged, or does not fit the model."""


class CheckpointError(LTHError):
    """A checkpoint of weights is missing, unreadable, or holds nothing that fits."""


class ConfigError(LTHError):
    """A setting is unknown, misspelt, or out of range."""


class RunError(LTHError):
    """A run directory is in use, damaged, or belongs to another configuration."""


class InUseError(RunError):
    """Another process is at work in a run directory."""


class ExactnessError(LTHError):
    """A weight that was pruned is not zero any more."""
