"""The `dfad` command line: which commands there are. What they do stands in `commands`."""

from __future__ import annotations

import typer

from dfad_client.commands import (
    audit,
    download,
    engine,
    follow,
    inspect,
    jobs,
    look,
    measure,
    submit,
    up,
    worker,
)
from dfad_client.commands.keys import keys
from dfad_client.commands.shared import Group, register
from dfad_client.commands.usage import quotas, usage

EPILOG = (
    "Exit codes: 0 all well (with `submit --wait`, `watch` and `distill`: the job succeeded); 1 the job "
    "failed or was cancelled, or the teacher was rejected; 2 wrong usage, or a file that cannot be read or "
    "written; "
    "3 the server refused; 4 no connection, or a damaged transfer; 5 `up` cannot start or keep the service, "
    "`worker` cannot start, the engine is not installed, or `doctor` found a fault; 130 interrupted."
)
app = typer.Typer(
    name="dfad",
    cls=Group,
    help="Distil a trained model into a smaller one, without data.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # square brackets in help texts are text
)
register(app, up.up, local=True)
register(app, worker.worker, local=True)
register(app, submit.submit)
register(app, follow.watch)
register(app, jobs.list_jobs, name="list")
register(app, jobs.show)
register(app, look.events)
register(app, jobs.cancel)
register(app, jobs.pause)
register(app, jobs.resume)
register(app, jobs.rerun)
register(app, measure.measure)
register(app, download.download)
register(app, inspect.inspect)
app.add_typer(keys, name="keys")
register(app, audit.audit)
register(app, usage)
app.add_typer(quotas, name="quotas")
register(app, look.doctor)
register(app, engine.distill, local=True)
register(app, engine.export, local=True)
register(app, engine.pack, local=True)
register(app, engine.bench, local=True)
