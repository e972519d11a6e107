"""The page of commands, made of what `vsearch COMMAND --help` says."""

from __future__ import annotations

import inspect
import re

import click

from vsearch_fast import cli


def commands_page() -> str:
    """Markdown: a heading, the help's text and a list of options for each command."""
    group = cli.vsearch
    context = click.Context(group, info_name="vsearch")
    parts = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        parts.append(_command(name, command, click.Context(command, context, info_name=name)))
    return "\n\n".join(parts)


def _command(name: str, command: click.Command, context: click.Context) -> str:
    usage = " ".join(["vsearch", name, *command.collect_usage_pieces(context)])
    parts = [f"## vsearch {name}", f"```text\n{usage}\n```", _prose(command.help or "")]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            parts.append(f"`{record[0]}`\n:   {_escaped(record[1])}")
    return "\n\n".join(parts)


def _prose(text: str) -> str:
    """A help's paragraphs; what stands as it is written in a terminal is a block of code."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = paragraph.splitlines()
        if lines[0].strip() == "\b":
            block = inspect.cleandoc("\n".join(lines[1:]))
            parts.append(f"```text\n{block}\n```")
        else:
            parts.append(_escaped(" ".join(line.strip() for line in lines)))
    return "\n\n".join(parts)


def _escaped(text: str) -> str:
    """Text in which Markdown finds nothing to do."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)
