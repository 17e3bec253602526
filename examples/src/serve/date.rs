//! HTTP dates (RFC 9110, 5.6.7): writes the one current form, reads all three.
//!
//! Knows nothing of requests. Seconds are counted from 1970 and never negative: no file server
//! needs older dates.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const LONG_DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: u64 = 24 * 60 * 60;

/// Whole seconds since 1970, the resolution of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HttpDate(u64);

impl HttpDate {
    pub(crate) fn now() -> HttpDate {
        HttpDate::from(SystemTime::now())
    }

    pub(crate) fn from_secs(secs: i64) -> HttpDate {
        HttpDate(u64::try_from(secs).unwrap_or(0))
    }

    /// Any of the three forms; `None` for anything else, which callers treat as an absent header.
    pub(crate) fn parse(text: &str) -> Option<HttpDate> {
        let (weekday, rest) = match text.split_once(", ") {
            Some(parts) => parts,
            None => text.split_once(' ')?,
        };
        let parts: Vec<&str> = rest.split(' ').collect();
        match *parts.as_slice() {
            // IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
            [day, month, year, clock, "GMT"] if DAYS.contains(&weekday) => {
                join(digits(year, 4)?, month, digits(day, 2)?, clock)
            }
            // RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
            [date, clock, "GMT"] if LONG_DAYS.contains(&weekday) => {
                let mut date = date.split('-');
                let (day, month, year) = (date.next()?, date.next()?, date.next()?);
                if date.next().is_some() {
                    return None;
                }
                join(full_year(digits(year, 2)?), month, digits(day, 2)?, clock)
            }
            // asctime: Sun Nov  6 08:49:37 1994
            [month, "", day, clock, year] if DAYS.contains(&weekday) => {
                join(digits(year, 4)?, month, digits(day, 1)?, clock)
            }
            [month, day, clock, year] if DAYS.contains(&weekday) => {
                join(digits(year, 4)?, month, digits(day, 2)?, clock)
            }
            _ => None,
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0 / DAY);
        let weekday = DAYS[(self.0 / DAY + 4) as usize % 7]; // 1970-01-01 was a Thursday
        let month = MONTHS[month as usize - 1];
        let clock = self.0 % DAY;
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        write!(
            f,
            "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
        )
    }
}

impl From<SystemTime> for HttpDate {
    fn from(time: SystemTime) -> HttpDate {
        HttpDate(time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()))
    }
}

fn digits(text: &str, width: usize) -> Option<u64> {
    let all = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

/// Two digits that would lie more than 50 years ahead mean the century before.
fn full_year(two: u64) -> u64 {
    let (this, ..) = civil(HttpDate::now().0 / DAY);
    let year = this / 100 * 100 + two;
    if year > this + 50 { year - 100 } else { year }
}

fn join(year: u64, month: &str, day: u64, clock: &str) -> Option<HttpDate> {
    let month = MONTHS.iter().position(|m| *m == month)? as u64 + 1;
    let mut clock = clock.split(':');
    let hour = digits(clock.next()?, 2)?;
    let minute = digits(clock.next()?, 2)?;
    let second = digits(clock.next()?, 2)?;
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if year < 1970 || day < 1 || day > month_length(year, month) {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some(HttpDate(days * DAY + hour * 3600 + minute * 60 + second))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of this month.
fn days_before(year: u64, month: u64) -> u64 {
    let past = year - 1;
    let years = 365 * (year - 1970) + (past / 4 - past / 100 + past / 400)
        - (1969 / 4 - 1969 / 100 + 1969 / 400);
    years + (1..month).map(|m| month_length(year, m)).sum::<u64>()
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // The mean year is 365.2425 days, so the guess is at most one off.
    let mut year = 1970 + days * 400 / 146_097;
    while days_before(year, 1) > days {
        year -= 1;
    }
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 12;
    while days_before(year, month) > days {
        month -= 1;
    }
    (year, month, days - days_before(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(secs: u64) -> String {
        HttpDate(secs).to_string()
    }

    #[test]
    fn writes_the_date_of_the_rfc() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(text(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
        assert_eq!(text(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    }

    #[test]
    fn reads_all_three_forms() {
        let wanted = Some(HttpDate(784_111_777));
        assert_eq!(HttpDate::parse("Sun, 06 Nov 1994 08:49:37 GMT"), wanted);
        assert_eq!(HttpDate::parse("Sunday, 06-Nov-94 08:49:37 GMT"), wanted);
        assert_eq!(HttpDate::parse("Sun Nov  6 08:49:37 1994"), wanted);
        assert_eq!(
            HttpDate::parse("Wed Nov 16 08:49:37 1994"),
            Some(HttpDate(784_111_777 + 10 * DAY))
        );
    }

    #[test]
    fn reads_what_it_writes() {
        for secs in (0..5_000_000_000).step_by(7_654_321) {
            assert_eq!(HttpDate::parse(&text(secs)), Some(HttpDate(secs)));
        }
    }

    #[test]
    fn two_digit_years_stay_near_now() {
        let (this, ..) = civil(HttpDate::now().0 / DAY);
        assert_eq!(full_year((this + 10) % 100), this + 10);
        assert_eq!(full_year((this + 60) % 100), this - 40);
    }

    #[test]
    fn anything_else_is_no_date() {
        for bad in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 31 Apr 1994 08:49:37 GMT",
            "Sun, 00 Apr 1994 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Sun, 06 Nov 1884 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37:11 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
            "784111777",
        ] {
            assert_eq!(HttpDate::parse(bad), None, "{bad}");
        }
    }
}
