"""Lines of a growing text file of any size: it remembers counts per block, never the text."""

import re
from array import array
from bisect import bisect_left
from pathlib import Path

from engine.core.sanitize import masked, without_escapes

BLOCK = 1 << 16  # bytes; one number is kept for each
LONGEST_READ = 1 << 20  # bytes read for one screen of lines; what is longer is cut
ERRORS = re.compile(rb"(?i)error|exception|traceback|fatal|killed|out of memory|\bnan\b|warning")


class LogFile:
    """A file's lines by number, from 0. Call `update` to take in what was appended.

    `update`, `find` and `find_errors` may take seconds for gigabytes: call them from a thread, the first and the last
    from one at a time. Nothing raises for a file that is missing, is cut short or is no text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  # bytes that are counted
        self.generation = 0  # grows when the file was replaced or cut short
        self._before = array("q", [0])  # newlines before each block, and in all
        self._inode: int | None = None
        self.errors = array("q")  # numbers of the lines with errors, up to where find_errors has searched
        self._searched = 0  # lines that find_errors has seen

    @property
    def line_count(self) -> int:
        """Lines, a last one without its newline included."""
        return self._before[-1] + (1 if self._has_open_line() else 0)

    def _has_open_line(self) -> bool:
        return bool(self.size) and self._read(self.size - 1, 1) != b"\n"

    def update(self) -> bool:
        """Count what is new. Returns whether anything changed."""
        try:
            status = self.path.stat()
        except OSError:
            changed = self.size > 0
            self._forget()
            return changed
        if status.st_size < self.size or self._inode not in (None, status.st_ino):
            self._forget()
        self._inode = status.st_ino
        if status.st_size == self.size:
            return False
        try:
            with self.path.open("rb") as file:
                start = (self.size // BLOCK) * BLOCK  # the last block was counted in part
                del self._before[start // BLOCK + 1 :]
                file.seek(start)
                while start < status.st_size and (data := file.read(min(BLOCK, status.st_size - start))):
                    start += len(data)
                    self._before.append(self._before[-1] + data.count(b"\n"))
                self.size = start
        except OSError:  # gone since, or not for us
            self._forget()
        return True

    def lines(self, first: int, count: int) -> list[str]:
        """The existing lines of first .. first + count - 1, ready to show."""
        if count <= 0 or first >= self.line_count:
            return []
        start = self._start_of(first)
        data, wanted = b"", count
        while data.count(b"\n") < wanted and start + len(data) < self.size and len(data) < LONGEST_READ:
            more = self._read(start + len(data), BLOCK)
            if not more:
                break
            data += more
        parts = data.split(b"\n")
        if parts and not parts[-1]:
            parts.pop()
        return [shown(part) for part in parts[:wanted]]

    def find(self, text: str, line: int, forward: bool = True) -> int | None:
        """The next line after `line` (before it, if not forward) that holds the text, in any ASCII case."""
        needle = text.encode().lower()
        if not needle:
            return None
        overlap = len(needle) - 1
        if forward:
            at = self._start_of(line + 1) if line + 1 < self.line_count else self.size
            while at < self.size:
                hit = self._read(at, BLOCK + overlap).lower().find(needle)
                if hit >= 0:
                    return self._line_at(at + hit)
                at += BLOCK
            return None
        end = self._start_of(line) if line > 0 else 0
        while end > 0:
            begin = max(0, end - BLOCK)
            hit = (
                self._read(begin, min(end - begin + overlap, self.size - begin))
                .lower()
                .rfind(needle, 0, end - begin + overlap)
            )
            if hit >= 0 and begin + hit < end:
                return self._line_at(begin + hit)
            end = begin
        return None

    def find_errors(self) -> None:
        """Bring `errors`, the numbers of the lines that look like errors or warnings, up to what is counted."""
        total = self._before[-1]
        if self._searched < total:
            at, number = self._start_of(self._searched), self._searched
            while number < total:
                data = self._read(at, BLOCK * 16)
                if not data:
                    return  # gone: the next update starts over
                end = data.rfind(b"\n") + 1
                if not end:  # a line longer than that: look at its beginning only
                    if ERRORS.search(data):
                        self.errors.append(number)
                    number += 1
                    at = self._start_of(number)
                    continue
                for part in data[: end - 1].split(b"\n"):
                    if ERRORS.search(part):
                        self.errors.append(number)
                    number += 1
                at += end
            self._searched = total

    @property
    def searched(self) -> bool:
        """Whether `errors` tells of all lines that are counted."""
        return self._searched >= self._before[-1]

    def _forget(self) -> None:
        self.generation += 1
        self.size, self._inode, self._searched = 0, None, 0
        self._before, self.errors = array("q", [0]), array("q")

    def _start_of(self, line: int) -> int:
        """The offset of a line: just after as many newlines."""
        if line <= 0:
            return 0
        block = bisect_left(self._before, line) - 1
        data = self._read(block * BLOCK, BLOCK)
        at = -1
        for _ in range(line - self._before[block]):
            at = data.find(b"\n", at + 1)
            if at < 0:
                return min(self.size, (block + 1) * BLOCK)
        return block * BLOCK + at + 1

    def _line_at(self, offset: int) -> int:
        block = offset // BLOCK
        return self._before[block] + self._read(block * BLOCK, offset - block * BLOCK).count(b"\n")

    def _read(self, offset: int, count: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(count)
        except OSError:
            return b""


def shown(raw: bytes) -> str:
    """A line as a terminal would leave it: without colors, only what the last carriage return left standing."""
    text = raw[:8192].decode(errors="replace").rstrip("\r")
    text = without_escapes(text.rpartition("\r")[2]).expandtabs(8)
    return masked(text)
