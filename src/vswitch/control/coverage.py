"""How often things have happened: counters over time, and their rates, as `coverage/show` has them.

Counters are read now and then (`sample`), and what they were an hour, a minute and five seconds ago is kept: 12 samples
of the last minute, 60 of the last hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

__all__ = ["SAMPLE_S", "Coverage", "Gauge"]

SAMPLE_S = 5.0
MINUTE_S, HOUR_S = 60.0, 3600.0

_Totals = Mapping[str, int]


class Coverage:
    """`sample` is to be called often; it takes one each 5 s."""

    def __init__(self, now_s: float, totals: _Totals) -> None:
        self._minute: deque[_Totals] = deque([totals], maxlen=round(MINUTE_S / SAMPLE_S) + 1)
        self._hour: deque[_Totals] = deque([totals], maxlen=round(HOUR_S / MINUTE_S) + 1)
        self._next_s = now_s + SAMPLE_S
        self._samples = 0

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for a sample."""
        return now_s >= self._next_s

    def sample(self, now_s: float, totals: _Totals) -> None:
        """These are the counters now."""
        self._next_s = now_s + SAMPLE_S
        self._samples += 1
        self._minute.append(totals)
        if self._samples % round(MINUTE_S / SAMPLE_S) == 0:
            self._hour.append(totals)

    def text(self, totals: _Totals) -> str:
        """Each counter that is not zero: its rates at the last sample, over 5 s, a minute, an hour, and its value."""
        last = self._minute[-1]
        spans = (
            (self._minute[-2] if len(self._minute) > 1 else last, SAMPLE_S),
            (self._minute[0], MINUTE_S),
            (self._hour[0], HOUR_S),
        )
        lines = ["Event coverage, avg rate over last: 5 seconds, last minute, last hour:"]
        for name, total in totals.items():
            if total:
                of_5_s, of_minute, of_hour = ((last[name] - then[name]) / span_s for then, span_s in spans)
                rates = f"{of_5_s:5.1f}/sec {of_minute:9.3f}/sec {of_hour:13.4f}/sec"
                lines.append(f"{name:<24} {rates}   total: {total}")
        return "\n".join([*lines, f"{sum(not total for total in totals.values())} events never hit", ""])


class Gauge:
    """A figure that goes up and down: its `mean` over about the last minute of looks at it, and the `most` it was."""

    WEIGHT = 1 / 64

    def __init__(self) -> None:
        self.mean = 0.0
        self.most = 0

    def look(self, figure: int) -> None:
        """It is this now."""
        self.mean += (figure - self.mean) * self.WEIGHT
        self.most = max(self.most, figure)
