"""One thread or all: which is taken, when it is looked at again, and that a resumed run keeps it."""

import dataclasses

import pytest
import torch

from dfad_core.contract.errors import Stopped
from dfad_core.hooks import Hooks
from dfad_core.training import thread_choice
from dfad_core.training.thread_choice import FIRST_PAUSE, ThreadChoice
from dfad_core.training.trainer import distill


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """A process that may use two, whatever the machine has; the arithmetic itself is left at one thread."""
    before, number = torch.get_num_threads(), [2]
    torch.set_num_threads(1)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "get_num_threads", lambda: number[0])
        patched.setattr(torch, "set_num_threads", lambda threads: number.__setitem__(0, threads))
        patched.setattr("dfad_core.training.runtime.usable_processors", lambda: 2)
        yield
    torch.set_num_threads(before)


class Machine:
    """A pass takes as long as is set for the number of threads in force; the clock is moved by hand."""

    def __init__(self):
        self.now = 0.0
        self.pass_seconds = {1: 0.012, 2: 0.008, 4: 0.005}
        self.passes = 0

    def work(self):
        self.passes += 1
        self.now += self.pass_seconds[torch.get_num_threads()]

    def choice(self, available=2):
        return ThreadChoice(available, self.work, clock=lambda: self.now)


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(thread_choice.time, "perf_counter", lambda: made.now)
    return made


def test_alone_on_the_machine_all_threads_are_taken(machine):
    choice = machine.choice()
    trial = choice.try_first()
    assert (choice.threads, torch.get_num_threads(), trial.changed) == (2, 2, False)
    assert trial.one_seconds == pytest.approx(0.012)
    assert trial.all_seconds == pytest.approx(0.008)


def test_beside_a_busy_program_one_thread_is_taken(machine):
    machine.pass_seconds[2] = 0.3
    choice = machine.choice()
    trial = choice.try_first()
    assert (choice.threads, torch.get_num_threads()) == (1, 1)
    about = trial.event_data()
    assert (about["threads"], about["available"]) == (1, 2)
    assert "1 of 2 threads" in about["message"]
    assert not choice.changed


def test_a_tie_changes_nothing(machine):
    machine.pass_seconds[1] = 0.0079
    choice = machine.choice()
    choice.try_first()
    assert choice.threads == 2


def rounds(choice, machine, seconds, number):
    """`number` rounds of so many seconds each; the trials among them."""
    trials = []
    for _ in range(number):
        machine.now += seconds
        trials.append(choice.after_round(seconds))
    return [trial for trial in trials if trial is not None]


def test_rounds_that_got_slow_are_looked_at_again(machine):
    choice = machine.choice()
    choice.try_first()
    assert not any(trial.changed for trial in rounds(choice, machine, 1.0, 75))
    machine.pass_seconds[2] = 0.3
    (trial,) = rounds(choice, machine, 7.0, 2)  # long before it would have looked again anyway
    assert trial.changed
    assert (choice.threads, torch.get_num_threads(), choice.changed) == (1, 1, True)


def test_a_slower_machine_is_tried_ever_more_rarely(machine):
    """Both numbers got slower: nothing changes."""
    choice = machine.choice()
    choice.try_first()
    rounds(choice, machine, 1.0, 12)
    machine.pass_seconds |= {1: 0.12, 2: 0.08}
    trials = rounds(choice, machine, 10.0, 200)
    # At pauses of 10, 20, 40, ... and then 600 seconds.
    assert 5 <= len(trials) <= 10
    assert not any(trial.changed for trial in trials)
    assert choice.threads == 2


def test_a_first_trial_while_the_other_program_was_idle_is_made_up_for(machine):
    choice = machine.choice()
    choice.try_first()
    machine.pass_seconds[2] = 0.3
    (trial,) = rounds(choice, machine, 5.0, 2)  # slow from the first round on: that is what is usual
    assert trial.changed
    assert choice.threads == 1


def test_when_the_other_program_has_ended_all_threads_are_taken(machine):
    machine.pass_seconds[2] = 0.3
    choice = machine.choice()
    choice.try_first()
    while_busy = rounds(choice, machine, 1.0, 1000)
    # At pauses of 10, 20, 40, ... seconds: in 1,000 s no more than seven.
    assert 4 <= len(while_busy) <= 7
    assert not any(trial.changed for trial in while_busy)
    machine.pass_seconds[2] = 0.008
    first, *later = rounds(choice, machine, 1.0, 601)
    assert first.changed
    assert not any(trial.changed for trial in later)
    assert choice.threads == 2


def test_nothing_is_tried_within_the_pause(machine):
    choice = machine.choice()
    choice.try_first()
    passes = machine.passes
    assert rounds(choice, machine, FIRST_PAUSE / 100, 10) + rounds(choice, machine, FIRST_PAUSE / 10, 8) == []
    assert machine.passes == passes


def test_a_long_trial_is_not_soon_followed_by_another(machine):
    """Passes that take half a minute with all threads get one turn, and rounds most of the time."""
    machine.pass_seconds |= {1: 0.5, 2: 30.0}
    choice = machine.choice()
    choice.try_first()
    assert machine.now < 2 * 30.0 + 5
    assert rounds(choice, machine, 5.0, 50) == []
    assert len(rounds(choice, machine, 5.0, 20)) == 1


def test_a_checkpoint_of_one_thread_goes_on_with_one(machine):
    machine.pass_seconds[2] = 0.3
    first = machine.choice()
    first.try_first()
    second, passes = machine.choice(available=4), machine.passes
    second.load_state_dict(first.state_dict())
    assert (second.threads, torch.get_num_threads(), machine.passes) == (1, 1, passes)
    assert not second.changed


def test_a_checkpoint_of_more_threads_than_there_are(machine):
    first = machine.choice(available=4)
    first.try_first()
    second = machine.choice(available=2)
    second.load_state_dict(first.state_dict())
    assert (second.threads, torch.get_num_threads(), second.changed) == (2, 2, True)


def test_a_checkpoint_of_fewer_threads_is_compared_with_one_and_all(machine):
    first = machine.choice(available=2)
    first.try_first()
    second = machine.choice(available=4)
    second.load_state_dict(first.state_dict())
    assert second.threads == 2
    (trial,) = rounds(second, machine, 1.0, int(FIRST_PAUSE))
    assert trial.changed
    assert second.threads == 4


class Witness(Hooks):
    def __init__(self, stop_at=None):
        self.events, self.metrics, self.saved, self._stop_at = [], [], None, stop_at
        self._step = 0

    def note(self, code, data):
        self.events.append((code, data))

    def progress(self, progress):
        self.metrics.append(progress.metrics)

    def checkpoint(self, step, data):
        self.saved = data

    def should_stop(self):
        self._step += 1
        return "asked" if self._step == self._stop_at else None


def contended(monkeypatch, one, every):
    """Trials in a run find these times; the rest of the run is as it is."""
    times = {1: one, 2: every}
    monkeypatch.setattr(thread_choice, "_timed", lambda _pass, threads: times[threads])


@pytest.mark.parametrize(("one", "every", "expected"), [(0.01, 0.3, 1), (0.02, 0.01, 2)])
def test_a_run_takes_the_faster_number_and_says_so(tiny, monkeypatch, one, every, expected):
    contended(monkeypatch, one, every)
    witness = Witness()
    result = distill(tiny.classifier(8), tiny.classifier(4), tiny.config(threads=0, steps=3), witness)
    assert (result.threads, result.threads_changed) == (expected, False)
    ((kind, about),) = [event for event in witness.events if event[0].startswith("threads")]
    assert (kind, about["threads"], about["available"]) == ("threads_chosen", expected, 2)
    assert {one["threads"] for one in witness.metrics} == {float(expected)}
    assert torch.get_num_threads() == 2  # the caller's


def test_a_given_number_is_taken_as_it_is(tiny, monkeypatch):
    monkeypatch.setattr(thread_choice, "_timed", lambda *_: pytest.fail("nothing is to be tried"))
    witness = Witness()
    result = distill(tiny.classifier(8), tiny.classifier(4), tiny.config(threads=2, steps=3), witness)
    assert result.threads == 2
    assert witness.events == []


@pytest.mark.parametrize("method", ["best", "fast", "dfad_ar_vi"])
def test_resumed_where_the_other_number_would_be_taken_the_student_is_the_same(tiny, monkeypatch, method):
    config = tiny.config(method={"name": method}, threads=0, steps=6, batch_size=32, inner_steps=2)

    def run(hooks, resume=None):
        return distill(tiny.classifier(8), tiny.classifier(4, seed=1), config, hooks, resume=resume)

    contended(monkeypatch, one=0.01, every=0.3)
    whole, stopped = run(Hooks()), Witness(stop_at=3)
    with pytest.raises(Stopped):
        run(stopped)
    contended(monkeypatch, one=0.02, every=0.01)
    resumed = run(Hooks(), stopped.saved)
    assert (resumed.threads, resumed.threads_changed) == (1, False)
    wanted = whole.student.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in resumed.student.state_dict().items())


@pytest.mark.parametrize("method", ["best", "auto", "fast", "nayer", "deepinversion", "level_sets"])
def test_trials_change_nothing_of_a_run(tiny, monkeypatch, method):
    """Real passes of every kind of source, before the first round and after each, leave no trace."""
    config = tiny.config(method={"name": method}, threads=0, steps=4, inner_steps=2)
    monkeypatch.setattr(thread_choice, "GAIN", 1e9)  # always all threads
    monkeypatch.setattr(thread_choice, "TURN_SECONDS", 1e-9)
    monkeypatch.setattr(thread_choice, "TRIAL_SHARE", 1e9)
    monkeypatch.setattr(thread_choice, "HOPELESS", 1e9)
    monkeypatch.setattr(thread_choice, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(thread_choice, "SLOW", 0.0)  # every round is
    tried = []
    timed = thread_choice._timed
    monkeypatch.setattr(thread_choice, "_timed", lambda *given: tried.append(1) or timed(*given))

    def run(config):
        with torch.random.fork_rng([]):
            torch.manual_seed(5)
            return distill(tiny.classifier(8), tiny.classifier(4, seed=1), config).student.state_dict()

    with_trials = run(config)
    assert len(tried) == 2 * thread_choice.TURNS * 5
    without = run(dataclasses.replace(config, training=dataclasses.replace(config.training, threads=2)))
    assert all(torch.equal(tensor, without[name]) for name, tensor in with_trials.items())
