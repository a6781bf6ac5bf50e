//! How many requests of a kind there may be.

use std::{fmt, str::FromStr};

/// The most there may be: a number, or a share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Most {
    /// So many.
    Number(u64),
    /// So many of a hundred.
    Percent(f64),
}

impl Most {
    /// Whether a number, which is a part of `whole`, is more than this.
    pub(super) fn is_exceeded(self, number: u64, whole: u64) -> bool {
        match self {
            Self::Number(most) => number > most,
            // Of nothing no share can be told: anything is too much of it.
            Self::Percent(_) if whole == 0 => number > 0,
            Self::Percent(most) => number as f64 * 100.0 > most * whole as f64,
        }
    }
}

impl FromStr for Most {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is neither a number such as 100 nor a share such as 0.1%");
        match text.strip_suffix('%') {
            Some(share) => {
                let share: f64 = share.trim().parse().map_err(|_| expected())?;
                if (0.0..=100.0).contains(&share) {
                    Ok(Self::Percent(share))
                } else {
                    Err(expected())
                }
            }
            None => text.parse().map(Self::Number).map_err(|_| expected()),
        }
    }
}

impl fmt::Display for Most {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(most) => most.fmt(f),
            Self::Percent(most) => write!(f, "{most}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_number_or_a_share_is_too_much() {
        for (most, number, whole, exceeded) in [
            ("0", 0, 10, false),
            ("0", 1, 10, true),
            ("5", 5, 10, false),
            ("10%", 1, 10, false),
            ("9.9%", 1, 10, true),
            ("0%", 1, 1_000_000, true),
            ("100%", 10, 10, false),
            ("50%", 1, 0, true),
            ("50%", 0, 0, false),
        ] {
            let parsed: Most = most.parse().expect("a bound");
            assert_eq!(
                parsed.is_exceeded(number, whole),
                exceeded,
                "{number} of {whole} by {most}"
            );
            assert_eq!(parsed.to_string(), most);
        }
    }

    #[test]
    fn what_is_no_bound_says_what_to_write() {
        for text in ["", "%", "-1", "1.5", "101%", "-1%", "nan%", "many"] {
            let refused = text.parse::<Most>();
            assert!(refused.is_err_and(|message| message.contains("0.1%")), "{text}");
        }
    }
}
