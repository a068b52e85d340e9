"""Run slow reads in threads that quitting the console does not wait for."""

import contextvars
import threading
from collections.abc import Callable

from textual.message_pump import MessagePump


def read_in_background(node: MessagePump, work: Callable[[], None]) -> None:
    """Call `work` in a daemon thread; it reports to `node` with a message. Its exceptions go to Textual's log.

    Quitting waits for Textual's worker threads: a search in a huge log, or a network disk that does not respond, would
    delay it. Work that changes a run belongs in a worker, so that quitting waits for it.
    """
    app = node.app

    def guarded() -> None:
        try:
            work()
        except Exception as error:  # also if the console is closed when the message is posted
            app.log.error(error)

    threading.Thread(target=contextvars.copy_context().run, args=(guarded,), name="background", daemon=True).start()
