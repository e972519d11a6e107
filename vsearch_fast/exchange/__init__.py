"""Indexes as files of other programs, and such files as indexes."""
