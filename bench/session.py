"""Runs programs in turn: each is started and warmed up once, then all take their turns, round after round, so that a
machine that slows down slows all of them. A program that fails is named with its reason, and the others go on."""

import json
import queue
import re
import subprocess
import threading
import time

PATIENCE_TO_START = 600
PATIENCE_A_TURN = 180
# Threads of the one before may still spin while they wait for work.
PAUSE = 0.2


class Failed(Exception):
    """A side did not do its part; the message says why."""


class Side:
    """A program that answers each line with one turn: see side.py."""

    def __init__(self, command, folder):
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        try:
            self.process = subprocess.Popen(command, cwd=folder, text=True, **pipes)
        except OSError as error:
            raise Failed(error.strerror) from None
        self.lines, self.complaints = queue.Queue(), []
        self.readers = [threading.Thread(target=read, daemon=True) for read in (self.read_lines, self.read_complaints)]
        for reader in self.readers:
            reader.start()
        self.facts = self.receive(PATIENCE_TO_START)
        self.turns = []

    def read_lines(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # Some libraries greet.
                self.lines.put(line)
        self.lines.put("")

    def read_complaints(self):
        for line in self.process.stderr:
            self.complaints = [*self.complaints[-20:], line.rstrip()]

    def receive(self, patience):
        try:
            line = self.lines.get(timeout=patience)
        except queue.Empty:
            self.process.kill()
            raise Failed(f"gave no answer within {patience} s") from None
        if not line:
            self.process.wait()
            self.readers[1].join(timeout=5)
            said = [line for line in self.complaints if line.strip()]
            raise Failed(said[-1].strip()[:200] if said else f"ended with code {self.process.returncode}")
        return json.loads(line)

    def take_turn(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            pass  # It has ended; what it said last is in `receive`.
        self.turns.append(self.receive(PATIENCE_A_TURN))

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def take_turns(commands, rounds, folder, say):
    """Facts and turns of each command that worked, and the reasons of those that did not."""
    sides, failures = {}, {}
    try:
        for name, command in commands.items():
            attempt(name, failures, say, lambda name=name, command=command: sides.update({name: Side(command, folder)}))
        for number in range(rounds):
            say(f"  round {number + 1} of {rounds}")
            for name, side in sides.items():
                if name not in failures:
                    time.sleep(PAUSE)
                    attempt(name, failures, say, side.take_turn)
    finally:
        for side in sides.values():
            side.close()
    for side in sides.values():
        side.facts.pop("ready", None)
    done = {name: {**side.facts, "turns": side.turns} for name, side in sides.items() if name not in failures}
    return done, failures


def run_once(command, folder):
    """The last line of a program's output, as JSON."""
    try:
        done = subprocess.run(
            command, check=False, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_TO_START
        )
    except OSError as error:
        raise Failed(error.strerror) from None
    except subprocess.TimeoutExpired:
        raise Failed(f"gave no answer within {PATIENCE_TO_START} s") from None
    said = done.stderr.strip().splitlines()
    if done.returncode or not done.stdout.strip():
        raise Failed(said[-1][:200] if said else f"ended with code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def attempt(name, failures, say, action):
    try:
        return action()
    except Failed as failure:
        # Files by their names alone: their folders are nobody else's concern.
        failures[name] = re.sub(r"(/[^/\s]+)+/", "", str(failure))
        say(f"  {name}: {failures[name]}")
