"""What may take long and only reads: in a thread of its own, for which leaving the console does not wait."""

import contextvars
import threading
from collections.abc import Callable

from textual.message_pump import MessagePump


def read_aside(node: MessagePump, work: Callable[[], None]) -> None:
    """Call `work` in a daemonic thread; it tells `node` by a message. What it raises goes to Textual's own log.

    Textual's workers are threads of a pool that ends only when all they do has ended: a search in a huge log, or a
    network disk that does not answer, would hold up `q`. What changes a run belongs there, and is waited for.
    """
    app = node.app

    def guarded() -> None:
        try:
            work()
        except Exception as error:  # also of a message to a console that is gone
            app.log.error(error)

    threading.Thread(target=contextvars.copy_context().run, args=(guarded,), name="aside", daemon=True).start()
