"""People's blind ratings of search systems, and what they say.

A *system* is an index searched by one metric. A `Study` holds queries and what each system found
for them; raters judge single matches (*match?*) or two rows of them side by side (*which is
better?*) without learning which system is which. `Ratings` is the SQLite file of both, which one
may copy and report on without the indexes.

==============  ===================================================================
`study`         what is rated: settings, systems, queries and their results
`schedule`      which task a rater gets when, and on which side a system stands
`ratings`       the file: one transaction a judgement
`report`        shares, win rates, intervals, agreement: on arrays alone
`text`          the report as table, CSV and JSON; `chart` as a picture
`opening`       the study of a file: the one that is there, or a new one
==============  ===================================================================
"""

from __future__ import annotations

from .ratings import Judgement, Ratings
from .report import Report, summarise
from .schedule import Task, tasks
from .study import Picture, Settings, Study, System, make

__all__ = [
    "Judgement",
    "Picture",
    "Ratings",
    "Report",
    "Settings",
    "Study",
    "System",
    "Task",
    "make",
    "summarise",
    "tasks",
]
