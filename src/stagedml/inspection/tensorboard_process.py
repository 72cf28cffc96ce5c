"""What runs in the process that serves: TensorBoard on a folder, until who started it is gone.

It prints where it serves, one line on standard output. What TensorBoard prints goes to standard error, all of it. It
looks at its parent twice a second, so it outlives nobody, however that ended; and the data server that TensorBoard
starts ends with it.
"""

from __future__ import annotations

import os
import time

_START = "from stagedml.inspection.tensorboard_process import main"
#: How to start it: with where modules are looked for, and what `main` takes, both as JSON.
COMMAND = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); {_START}; main(**json.loads(sys.argv[2]))"

_LOOK_EVERY_S = 0.5


def main(folder: str, host: str, port: int, load_every_s: int, parent: int) -> None:
    """Serve a folder.

    Args:
        folder: with runs in it.
        host: the address to listen on.
        port: 0 for a free one.
        load_every_s: how often to look for new events; 0 for once.
        parent: the process to end with.
    """
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it takes TensorFlow where there is one
        from tensorboard import default, program

        server = program.TensorBoard(plugins=default.get_plugins())
        options = {"logdir": folder, "host": host, "port": port}
        loading = {"reload_interval": load_every_s, "reload_multifile": "true"}
        server.configure(["tensorboard", *(f"--{name}={value}" for name, value in (options | loading).items())])
        answer.write(f"{server.launch()}\n")
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(0)  # its threads never end
