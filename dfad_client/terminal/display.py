"""Plain text about jobs and teachers, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dfad_client.answers import Job, Json, PhaseProgress
from dfad_client.results import AccuracyPrediction, Inspection, JobResult, MethodAdvice

SHOWN_NAMES = 10
PHASES = {
    "loading": "loading the teacher",
    "warming_up": "warming up",
    "distilling": "distilling",
    "evaluating": "evaluating",
    "exporting": "exporting",
}


def duration(seconds: float) -> str:
    """As people say it: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(phase: PhaseProgress) -> str:
    """How far evaluation or export is: 512 of 4,096 images."""
    return f"{phase['done']:,} of {phase['total']:,} {phase['unit']}"


def verdict(job: Job) -> str:
    """One line on how a job stands."""
    text = f"{job.id}: {job.status}"
    if job.error:
        text += f" ({job.error.code}: {job.error.message})"
    elif not job.terminal and job.phase:
        part = job.progress.phase
        far = counted(part) if part else f"{job.progress.percent:.0f} %"
        text += f", {PHASES.get(job.phase, job.phase)}, {far}"
    return text


def summary(job: Job) -> list[str]:
    """A job in a few lines."""
    student = job.resolved_spec.get("student") or job.spec.get("student") or {}
    method = job.resolved_spec.get("method") or {}
    lines = [verdict(job), f"  method      {method.get('name', 'auto')}, {job.progress.total_steps} steps"]
    if job.attempt > 1:
        lines.append(f"  attempts    {job.attempt}")
    if not job.result:
        return [*lines, f"  student     {_student_name(student) or '?'}"]
    return lines + outcome(job.result) + measurement(job)


def measurement(job: Job) -> list[str]:
    """A line on a measurement after the job's end that waits or failed."""
    measured = job.measurement
    if measured is None or measured.status == "succeeded":
        return []
    error = measured.error
    text = f"failed: {error.message}" if error else "waits for a worker or goes on"
    return [f"  measuring   on {measured.filename} {text}"]


def outcome(result: JobResult) -> list[str]:
    """The result of a job in a few lines."""
    lines = []
    for role, network in (("teacher", result.get("teacher")), ("student", result.get("student"))):
        name, parameters = (network or {}).get("architecture", "?"), (network or {}).get("parameters", 0)
        lines.append(f"  {role:11} {name}, {parameters:,} parameters")
    if result.get("compression"):
        lines.append(f"  compression {result['compression']:.1f} times fewer parameters")
    told = prediction(result.get("prediction"))
    lines += [f"  {_of('predicted', row)}{text}" for row, text in enumerate(told)]
    measured = result.get("accuracy")
    if measured:
        on = measured.get("data", "labelled data")
        scores = f"teacher {measured['teacher']:.2%}, student {measured['student']:.2%}"
        scores += "".join(f", {name} {share:.2%}" for name, share in (measured.get("exports") or {}).items())
        lines.append(f"  accuracy    {scores} on {on}")
        lines += [f"  {'':11} {note}" for note in measured.get("notes") or ()]
    else:
        lines.append("  accuracy    not measured: that needs labelled data")
    for name, about in (result.get("exports") or {}).items():
        lines.append(f"  {name:11} {about.get('error') or exported(about)}")
        lines += [f"  {'':11} {text}" for text in caution(about)]
        lines += [f"  {'':11} predicted {text}" for text in prediction(about.get("prediction"))[:1]]
    return lines


def exported(about: Mapping[str, Any]) -> str:
    """The size of a file, how often it gives the student's class, and its times beside those in float."""
    text = f"{about['bytes']:,} bytes"
    if about.get("agreement_with_student") is not None:
        text += f", same class as the student on {about['agreement_with_student']:.1%}"
        text += f" of {about['images']:,} images"
    floats = about.get("float_latency_milliseconds") or {}
    for batch, time in (about.get("latency_milliseconds") or {}).items():
        text += f", batch {batch}: {time:.3g} ms (float {floats[batch]:.3g})"
    return text


def caution(about: Mapping[str, Any] | None) -> list[str]:
    """What speaks against a file, if anything does."""
    return [f"Caution: {about['caution']}"] if about and about.get("caution") else []


def prediction(judged: AccuracyPrediction | None) -> list[str]:
    """Predicted accuracy with its interval, and what it rests on; or why there is none.

    Nothing in results of earlier versions.
    """
    if not judged:
        return []
    if judged["relative_accuracy"] is None:
        return [f"nothing: {judged['reason']}"]
    return [
        f"{judged['relative_accuracy']:.1%} of the teacher's accuracy, {judged['level']:.0%} interval "
        f"{judged['low']:.1%} to {judged['high']:.1%}",
        f"from {judged['images']:,} drawn images and {judged['jobs']:,} jobs of known accuracy, "
        f"{judged['coverage']:.1%} of which lay in their interval",
    ]


def distilled(found: Json) -> list[str]:
    """What `dfad distill` has made."""
    how = "stopped early, the student is partial" if found["partial"] else "done"
    lines = [
        f"{how}: {found['steps']} steps in {duration(found['seconds'])}",
        *outcome(found["result"] or {}),
    ]
    if not found["result"]:
        lines = lines[:1]
    return [*lines, *(f"  {'files' if i == 0 else '':11} {path}" for i, path in enumerate(found["files"]))]


def measured(found: Json) -> list[str]:
    """What `dfad bench` has found."""
    machine, versions = found["machine"], found["machine"]["versions"]
    networks = (
        f"{found[who]['architecture']} ({found[who]['parameters']:,})" for who in ("teacher", "student")
    )
    on = (
        machine["gpu"]
        or f"{machine['processor']}, {machine['threads']} of {machine['processors']} processors"
    )
    return [
        f"{found['rounds_per_second']:g} rounds a second ({found['rounds']} in {found['seconds']:g} s)",
        f"  networks    {' to '.join(networks)} parameters",
        f"  method      {found['method']}, batches of {found['batch_size']}",
        f"  machine     {machine['device']}: {on}, {machine['precision']}, {machine['system']}",
        f"  versions    {', '.join(f'{name} {version}' for name, version in versions.items())}",
    ]


def _student_name(student: Json) -> str:
    """As it was asked for."""
    ways = {"layers": "layers", "transformers": "transformers", "target": "from a target"}
    asked = next((told for way, told in ways.items() if student.get(way)), "")
    return str(student.get("architecture") or asked)


def table(jobs: list[Job], *, tenants: bool = False) -> list[str]:
    """Jobs in columns, never cut: ids are there to be copied. `tenants`: whose they are, too."""
    rows: list[tuple[str, ...]] = [("JOB", "STATUS", "PROGRESS", "STUDENT", "CREATED")]
    for job in jobs:
        student = job.resolved_spec.get("student") or job.spec.get("student") or {}
        created = (job.created_at or "")[:19].replace("T", " ")
        percent = f"{job.progress.percent:.0f} %"
        rows.append((job.id, job.status, percent, _student_name(student), created))
    if tenants:
        whose = ["TENANT", *(job.tenant_id or "?" for job in jobs)]
        rows = [(row[0], tenant, *row[1:]) for row, tenant in zip(rows, whose, strict=True)]
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, its cells under those of the rows before."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def inspection(found: Inspection) -> list[str]:
    """The report on a teacher in a few lines."""
    shape = "x".join(str(side) for side in (found.get("input") or {}).get("shape", []))
    norms = ", ".join(f"{count} {name}" for name, count in (found.get("norms") or {}).items())
    lines = [
        f"  architecture {found.get('architecture', '?')}{_args(found.get('args') or {})}",
        f"  file         {found.get('format', '?')}",
        f"  size         {found.get('parameters', 0):,} parameters, {found.get('bytes', 0):,} bytes, "
        f"{found.get('macs', 0):,} multiply-accumulates{_time(found.get('timing') or {})}",
        f"  input        {shape or '?'}, {found.get('num_classes', '?')} classes",
        f"  norm layers  {norms or 'none'}",
    ]
    if names := found.get("class_names"):
        rest = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        lines.append(f"  class names  {', '.join(names[:SHOWN_NAMES])}{rest}")
    lines += [f"  note         {note}" for note in found.get("notes") or []]
    methods = found.get("methods") or []
    lines += [
        f"  {_of('methods', i)} {m['name']}: {m['reason']}" for i, m in enumerate(_suiting(methods, True))
    ]
    lines += [f"  {_of('not', i)} {m['name']}: {m['reason']}" for i, m in enumerate(_suiting(methods, False))]
    return lines + students(found)


def students(found: Inspection) -> list[str]:
    """The students that the inspection offers; where it offers none, what may be asked for."""
    offered = found.get("students") or []
    if not offered:
        parameters = found.get("parameters", 0)
        sizes = ", ".join(f"{parameters // part:,}" for part in (2, 4, 10))
        return [f"  students     any that keeps to --max-parameters, e.g. {sizes}"] if parameters else []
    lines = []
    for row, one in enumerate(offered):
        name = f"{one['architecture']}{_args(one.get('args') or {})}"
        size = f"{one['parameters']:,} parameters, {one.get('compression', 0):g} times fewer"
        work = f"{one.get('macs', 0):,} multiply-accumulates{_time(one)}"
        lines.append(f"  {_of('students', row)} {name}: {size}, {work}")
    return lines


def _time(timed: Mapping[str, Any]) -> str:
    """How long one image takes, where the service has timed it."""
    milliseconds = timed.get("one_image_milliseconds")
    return "" if milliseconds is None else f", {milliseconds:.3g} ms an image"


def _suiting(methods: list[MethodAdvice], wanted: bool) -> list[MethodAdvice]:
    return [method for method in methods if bool(method.get("suits")) is wanted]


def _args(args: Json) -> str:
    return "".join(f" {name}={value}" for name, value in args.items())


def _of(title: str, row: int) -> str:
    return f"{title if row == 0 else '':12}"
