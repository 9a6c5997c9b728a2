#!/usr/bin/env python3
"""Says when cron schedules run, by looking at each minute, and shares nothing with Stem: Python's zoneinfo and the rules.

Input, a line each:  zone | expression | gap | overlap | after | until
Output: the line and after it, separated by |, the instants after "after" and not after "until", in UTC, six at most.
With --check the lines have their instants already, and the program fails if they are others. # begins a comment.
"""

import re
import sys
from datetime import datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
NAMES = dict(zip("SUN MON TUE WED THU FRI SAT".split(), range(7)))


def values(text, low, high):
    found = set()
    for item in text.split(","):
        m = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", item)
        begin, end, step = m.groups()
        a = low if begin is None else NAMES.get(begin, None) if begin in NAMES else int(begin)
        if end is not None:
            b = NAMES[end] if end in NAMES else int(end)
        else:
            b = high if begin is None or step else a
        found.update(range(a, b + 1, int(step or 1)))
    return found


class Cron:
    def __init__(self, text):
        minute, hour, day, month, week = text.split()
        self.minutes, self.hours = values(minute, 0, 59), values(hour, 0, 23)
        self.days, self.months = values(day, 1, 31), values(month, 1, 12)
        self.week = {d % 7 for d in values(week, 0, 6)}
        self.both = day[0] == "*" or week[0] == "*"
        self.elapsed = hour[0] == "*"

    def matches(self, t):
        if t.minute not in self.minutes or t.hour not in self.hours or t.month not in self.months:
            return False
        day, week = t.day in self.days, t.isoweekday() % 7 in self.week
        return day and week if self.both else day or week


@cache
def local(zone, t):
    """The local time at an instant, whether it is the second of two, and the local minutes left out before it."""
    z = ZoneInfo(zone)
    now = t.astimezone(z)
    wall = now.replace(tzinfo=None, fold=0)
    m = (t - MINUTE).astimezone(z).replace(tzinfo=None, fold=0) + MINUTE
    missing = []
    while m < wall:
        missing.append(m)
        m += MINUTE
    return wall, now.fold == 1, missing


def twice(zone, wall):
    z = ZoneInfo(zone)
    return wall.replace(tzinfo=z).utcoffset() > wall.replace(tzinfo=z, fold=1).utcoffset()


def runs(zone, expression, gap, overlap, after, until):
    cron = Cron(expression)
    t = after.replace(second=0, microsecond=0) + MINUTE
    found = []
    while t <= until and len(found) < 6:
        wall, second, missing = local(zone, t)
        fires = cron.matches(wall)
        if fires and not cron.elapsed and overlap != "both" and twice(zone, wall):
            fires = second == (overlap == "second")
        if missing and gap == "next" and not cron.elapsed and any(cron.matches(m) for m in missing):
            fires = True
        if fires:
            found.append(t.strftime("%Y-%m-%dT%H:%M:%SZ"))
        t += MINUTE
    return found


def main(check):
    wrong = lines = 0
    for line in sys.stdin:
        line = line.strip()
        if not line or line[0] == "#":
            continue
        lines += 1
        zone, expression, gap, overlap, after, until, *said = [w.strip() for w in line.split("|")]
        a, u = (datetime.strptime(w, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc) for w in (after, until))
        found = runs(zone, expression, gap, overlap, a, u)
        if not check:
            print(" | ".join([zone, expression, gap, overlap, after, until, *found]))
        elif said != found:
            wrong += 1
            print(f"{line}\n  but it is {found}")
    if check:
        print(f"{lines - wrong} of {lines} rows are right")
    return wrong > 0


sys.exit(main("--check" in sys.argv[1:]))
