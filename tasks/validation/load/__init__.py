"""The load generator: sends a load to an OpenAI-compatible endpoint and measures it, in a process of its own.

    SLIPWAY_API_KEY=… python -m tasks.validation.load INSTRUCTIONS.json

Reads `Instructions` (instructions.py) and prints JSON lines: {"progress": n, "of": m} each second, {"measured": {…}}
last. It measures only: objectives and verdict are judged by who started it (../judge.py).

It needs Python 3.11, this folder and tasks/records/errors.py: nothing else of Slipway and no other package, so that it runs
as a Job in a plain Python image. It is faster where `uvloop`, `httptools` and `pydantic_core` are installed.

    __main__        the process: its arguments, its lines, its exit code
    instructions    where the load goes, what it is, what makes one request good
    sources         reads traces and files of prompts
    arrivals        when each request is due, and how long it is
    prompts         texts drawn from a seed
    request         requests as bytes
    sending         sends every request when it is due, waits for the last
    alarm           wakes the event loop on time
    connections     sockets: opened beforehand, timed where they are read
    http1           chooses a parser of HTTP/1.1: llhttp (httptools) or plain_http1 (standard library)
    wire            parses one answer into times, tokens or a failure
    tally           keeps a few numbers of each request
    figures         turns a tally into distributions
"""
