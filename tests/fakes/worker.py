"""A worker that does as it is told: `python worker.py SCRIPT`, where SCRIPT is a JSON list of steps, each an object
with one of these keys, and maybe `times` to repeat a text.

emit: an event, as an object      print: raw text, nothing added      stderr: text
sleep: seconds                    exit: a code                        raise: the name or number of a signal, to itself
interrupt: the same, to whoever started it
spawn: a path; starts a process that sleeps, and writes its id there
request: a path; writes the request it was given there

It ends with code 0 after the last step. Only the standard library, and as little of it as will do: it is started often.
"""

import json
import os
import signal
import sys
import time


def number(name: str | int) -> int:
    """SIGKILL or 9 to 9."""
    return name if isinstance(name, int) else signal.Signals[name].value


def main() -> None:
    """Read the request as every worker does, then follow the script."""
    request = sys.stdin.readline()
    for step in json.loads(sys.argv[1]):
        times = step.pop("times", 1)
        [(what, value)] = step.items()
        if what == "emit":
            print(json.dumps(value), flush=True)
        elif what == "print":
            print(value * times, end="", flush=True)
        elif what == "stderr":
            print(value * times, end="", flush=True, file=sys.stderr)
        elif what == "sleep":
            time.sleep(value)
        elif what == "exit":
            os._exit(value)
        elif what == "raise":
            os.kill(os.getpid(), number(value))
        elif what == "interrupt":
            os.kill(os.getppid(), number(value))
        elif what == "spawn":
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            write(value, str(child))
        elif what == "request":
            write(value, request)
        else:
            sys.exit(f"no such step: {what}")


def write(path: str, text: str) -> None:
    """Whoever waits for the file finds it whole."""
    with open(path + ".part", "w") as file:
        file.write(text)
    os.replace(path + ".part", path)


main()
