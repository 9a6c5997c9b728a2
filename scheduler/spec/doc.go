// Package spec says when a schedule fires. It is pure: a spec, a zone, a policy and an instant give the next instant and
// what is unusual about it. It knows no database and no clock.
//
// There are five kinds, each written as JSON; Parse also takes a bare cron expression and "every:5m".
//
//	{"every": "5m", "startAt": "2026-01-01T00:00:00Z", "endAt": "2027-01-01T00:00:00Z"}
//	{"cron": "0 9 * * MON-FRI"}
//	{"calendar": {"months": [1, 7], "weekdays": ["MON"], "monthdays": [1], "hours": [9], "minutes": [0]}}
//	{"solar": "sunrise", "latitude": 52.52, "longitude": 13.40, "offset": "-15m"}
//	{"clocked": "2026-02-01T09:00:00Z"}
//
// # Intervals
//
// An interval counts elapsed time from startAt, or from 1970-01-01T00:00:00Z where there is none, so its phase depends on
// nothing that happens at run time. endAt is the last instant at which it may fire.
//
// # Cron
//
// The fields are minute, hour, day of month, month and day of week, with a field of seconds before them if there are six.
// The rules are those of Vixie cron (Paul Vixie, cron 3.0 and 4.1; crontab(5) and cron(8) of cronie):
//
//   - Where day of month and day of week are both restricted, a day matches if either does. A field that begins with *
//     is not restricted, be it "*/2": then both must match.
//   - 0 and 7 are Sunday; names of months and days are their first three letters, in any case, and may stand in ranges.
//   - A schedule whose hours are listed runs at its local time: a time that a change to summer time leaves out is made up
//     for when the gap ends, and one that the change back repeats runs once.
//   - A schedule whose hour field begins with * follows elapsed time instead: nothing is made up, and it runs in both
//     passes of a repeated hour.
//
// Three things differ from Vixie. A field of minutes that begins with * does not make a schedule follow elapsed time, the
// hour decides alone. The rules hold for a change of any size, where Vixie stops at three hours: Samoa had no 30 December
// 2011. And what a gap left out runs once, at its end, however many times matched in it.
//
// From Quartz come "a/n" (from a to the end by n), L (last day of the month; "FRIL" or "5L" is its last Friday), "15W"
// (the working day nearest to the 15th, in the same month), LW, and "FRI#2" (the second Friday).
//
// Local time comes from package time, whose copy of the IANA data is embedded for machines that have none.
//
// A calendar is a cron expression with its fields as lists; a field that is missing or empty is *.
//
// # The sun
//
// The equations are those of NOAA's solar calculator (https://gml.noaa.gov/grad/solcalc/calcdetails.html), which are Jean
// Meeus's (Astronomical Algorithms, 1991, chapters 15, 25 and 28): the event is found by repeating the calculation at the
// instant that it gave. Sunrise and sunset are at a zenith of 90.833 degrees (34' of refraction and 16' of the sun's
// radius), dawn and dusk are civil twilight, 96 degrees. There is one event of a kind on each day of the place's mean solar
// time; a day without it is skipped, and the next run says so.
package spec
