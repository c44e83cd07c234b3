//! Durations and sizes: `1h30m` and `20GiB` to numbers and back.
//!
//! Invariant: what is read fits its type (milliseconds and bytes in `u64`); nothing overflows, nothing is
//! rounded up. A bare number is a size in bytes but never a duration: `timeout = 30` would leave the unit to
//! a guess. `20G` is refused for the same reason, half of the field's tools read it as 10⁹ and half as 2³⁰.

use std::fmt;

/// Why a text is not a duration or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form.
    #[error("not a duration")]
    NotADuration,
    /// Not of the form.
    #[error("not a size")]
    NotASize,
    /// More than `u64` holds.
    #[error("too large")]
    TooLarge,
}

/// The units of durations, largest first, in milliseconds.
const DURATIONS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of sizes in bytes.
const SIZES: [(&str, u64); 12] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];

/// Milliseconds of `200ms`, `30s`, `5m`, `3h`, `30d`, `2w`, or several with falling units, as in `1h30m`.
pub fn duration_ms(text: &str) -> Result<u64, QuantityError> {
    let mut rest = text;
    let mut units = DURATIONS.as_slice();
    let mut total = 0u64;
    while !rest.is_empty() {
        let (digits, tail) = split_digits(rest);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let at = units.iter().position(|(unit, _)| *unit == &tail[..unit_end]);
        let (false, Some(at)) = (digits.is_empty(), at) else { return Err(QuantityError::NotADuration) };
        let part = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(units[at].1));
        total = part.and_then(|part| total.checked_add(part)).ok_or(QuantityError::TooLarge)?;
        units = &units[at + 1..];
        rest = &tail[unit_end..];
    }
    if text.is_empty() { Err(QuantityError::NotADuration) } else { Ok(total) }
}

/// Bytes of `4096`, `10MB` (10⁶), `512MiB` (2²⁰) or `1.5GiB`.
pub fn size_bytes(text: &str) -> Result<u64, QuantityError> {
    let (digits, tail) = split_digits(text);
    let (fraction, tail) = match tail.strip_prefix('.') {
        Some(tail) => split_digits(tail),
        None => ("0", tail),
    };
    let unit = SIZES.iter().find(|(unit, _)| *unit == tail.trim_start_matches(' ')).map(|(_, unit)| *unit);
    let (false, false, true, Some(unit)) =
        (digits.is_empty(), fraction.is_empty(), fraction.len() <= 9, unit)
    else {
        return Err(QuantityError::NotASize);
    };
    let whole = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    let scale = 10u128.pow(u32::try_from(fraction.len()).expect("at most nine digits"));
    let part = fraction.parse::<u128>().expect("at most nine digits") * u128::from(unit) / scale;
    let part = u64::try_from(part).expect("less than the unit");
    whole.and_then(|whole| whole.checked_add(part)).ok_or(QuantityError::TooLarge)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A duration as people say it: `812ms`, `4.2s`, `2m 05s`, `3h 04m`, `2d 03h`.
pub struct Duration {
    /// The duration.
    pub ms: u64,
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.ms / 1000;
        match seconds {
            0 => write!(f, "{}ms", self.ms),
            1..60 => write!(f, "{}.{}s", seconds, self.ms % 1000 / 100),
            60..3600 => write!(f, "{}m {:02}s", seconds / 60, seconds % 60),
            3600..86_400 => write!(f, "{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
            _ => write!(f, "{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
        }
    }
}

/// A size as people say it: `512 B`, `1.5 KiB`, `20.0 GiB`.
pub struct Size {
    /// The size.
    pub bytes: u64,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.bytes < 1024 {
            return write!(f, "{} B", self.bytes);
        }
        let power = (u64::BITS - 1 - self.bytes.leading_zeros()) / 10;
        let tenths = u128::from(self.bytes) * 10 / (1u128 << (10 * power));
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("200ms", 200),
            ("30s", 30_000),
            ("5m", 300_000),
            ("3h", 10_800_000),
            ("30d", 2_592_000_000),
            ("2w", 1_209_600_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("0s", 0),
            ("007s", 7000),
            ("18446744073709551615ms", u64::MAX),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "30",
            "3 parsecs",
            "30S",
            "30 s",
            "-1s",
            "1.5h",
            "30m1h",
            "1h1h",
            "1hm",
            "ms5",
            "∞s",
            "3é",
        ] {
            assert_eq!(duration_ms(text), Err(QuantityError::NotADuration), "{text}");
        }
        for text in
            ["99999999999999999999s", "18446744073709551616ms", "18446744073709551615s", "30500568904944w1ms"]
        {
            assert!(matches!(duration_ms(text), Err(QuantityError::TooLarge)), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("4096", 4096),
            ("0", 0),
            ("10B", 10),
            ("10kB", 10_000),
            ("10MB", 10_000_000),
            ("512MiB", 536_870_912),
            ("20GiB", 21_474_836_480),
            ("20 GiB", 21_474_836_480),
            ("1.5GiB", 1_610_612_736),
            ("0.1KB", 100),
            ("16383PiB", 16_383 << 50),
        ] {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "GiB", "20G", "20gib", "1.GiB", ".5GiB", "-1", "1,5GiB", "20GiB ", "1.0000000001GiB", "1e3"]
        {
            assert_eq!(size_bytes(text), Err(QuantityError::NotASize), "{text}");
        }
        for text in ["16384PiB", "99999999999999999999", "18446744073709551616"] {
            assert_eq!(size_bytes(text), Err(QuantityError::TooLarge), "{text}");
        }
    }

    #[test]
    fn they_are_shown_to_people() {
        for (ms, shown) in [
            (0, "0ms"),
            (812, "812ms"),
            (4299, "4.2s"),
            (125_000, "2m 05s"),
            (11_099_999, "3h 04m"),
            (183_600_000, "2d 03h"),
            (u64::MAX, "213503982334d 14h"),
        ] {
            assert_eq!(Duration { ms }.to_string(), shown);
        }
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (21_474_836_480, "20.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Size { bytes }.to_string(), shown);
        }
    }
}
