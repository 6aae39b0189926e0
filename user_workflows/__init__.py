"""Track nested Celery workflows as live trees that their users can see and stop.

from user_workflows.canvas import chain, chord, workflow

flow = workflow(
    chain(read.si(course), chord([render.si(c) for c in chapters], assemble.s())),
    user=request.user,
    name="Export CS101",
)
status = flow.delay()  # the root of the tree: status.tree(), status.cancel(), ...
"""

from django.dispatch import Signal

__version__ = "0.1.0"

#: Sent once for each leaf and each container when it is settled: nothing below it can run any
#: more. Arguments: ``status``, a fresh ``UserTaskStatus`` instance.
user_task_stopped = Signal()

#: Sent once for each workflow when its root is settled. Arguments: ``status``, the root, and
#: ``verdict``, its ``Phase``. Where a process dies between settling and sending, the signal is
#: sent later by the reaper.
workflow_finished = Signal()
