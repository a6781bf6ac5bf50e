//! Proactive negotiation by `Accept` (RFC 9110 §12.5.1).
//!
//! The most specific range decides what a media type is worth to the client; the highest worth wins, then the range
//! listed first, then our own order of offers. One pass over the header, no allocation: its length, which
//! `limits.header_bytes` bounds, is all the work that a hostile header can make.

use http::{HeaderMap, HeaderName, header};

/// The media types that the gateway itself can answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `text/html`
    Html,
    /// `application/problem+json` (RFC 9457)
    ProblemJson,
    /// `application/json`
    Json,
    /// `text/plain`
    Plain,
}

impl MediaType {
    /// Type and subtype.
    fn parts(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Html => (b"text", b"html"),
            Self::ProblemJson => (b"application", b"problem+json"),
            Self::Json => (b"application", b"json"),
            Self::Plain => (b"text", b"plain"),
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::ProblemJson => "application/problem+json",
            Self::Json => "application/json",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }
}

/// Whether a browser asks for a document to show, rather than a script for something to read.
pub fn navigates(headers: &HeaderMap) -> bool {
    const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
    headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate")
}

/// The offer that suits the client best; `None` if it accepts none. Without an `Accept` that says anything, the first.
pub fn choose<const N: usize>(headers: &HeaderMap, offers: [MediaType; N]) -> Option<MediaType> {
    let mut best: [Option<Match>; N] = [None; N];
    let ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|line| Split::new(line.as_bytes(), b','))
        .map(<[u8]>::trim_ascii);
    let mut listed = 0_usize;
    for range in ranges {
        // What none of ours is says only that something is listed.
        if listed > 0 && !matches!(range.first(), Some(b'*' | b'a' | b'A' | b't' | b'T')) {
            continue;
        }
        let Some(range) = Range::parse(range) else { continue };
        for (offer, best) in offers.iter().zip(&mut best) {
            if let Some(rank) = range.rank(*offer)
                && best.is_none_or(|best| rank > best.rank)
            {
                let (worth, position) = (range.worth, listed);
                *best = Some(Match { rank, worth, position });
            }
        }
        listed += 1;
    }
    if listed == 0 {
        return offers.first().copied();
    }
    offers
        .into_iter()
        .zip(best)
        .filter_map(|(offer, best)| best.filter(|best| best.worth > 0).map(|best| (offer, best)))
        // `min_by_key` keeps the first of equals: our own order.
        .min_by_key(|(_, best)| (std::cmp::Reverse(best.worth), best.position))
        .map(|(offer, _)| offer)
}

/// What the header says of one offer, by its most specific range.
#[derive(Debug, Clone, Copy)]
struct Match {
    rank: Rank,
    worth: Worth,
    position: usize,
}

/// How specific a range is for an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// `*/*`
    Any,
    /// `text/*`
    Type,
    /// `text/html;level=1`: another variant than ours, still nearer to what is wanted than nothing.
    Variant,
    /// `text/html`
    Exact,
}

/// A q-value in thousandths.
type Worth = u16;

/// One media range. Malformed ones are left out: they say nothing that could be honoured.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    /// Has parameters that none of our answers has.
    variant: bool,
    worth: Worth,
}

impl<'a> Range<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut pieces = Split::new(text, b';').map(<[u8]>::trim_ascii);
        let name = pieces.next()?;
        let slash = name.iter().position(|byte| *byte == b'/');
        let (kind, subtype) = match slash {
            Some(slash) => (&name[..slash], &name[slash + 1..]),
            // Java's HttpURLConnection sends a lone `*`.
            None if name == b"*" => (name, name),
            None => return None,
        };
        if !is_token(kind) || !is_token(subtype) || (kind == b"*" && subtype != b"*") {
            return None;
        }
        let mut range = Self {
            kind,
            subtype,
            variant: false,
            worth: 1000,
        };
        for parameter in pieces {
            let (key, value) = key_value(parameter);
            if key.eq_ignore_ascii_case(b"q") {
                // What follows the weight are extensions of Accept, not parameters of the type.
                range.worth = parse_worth(value)?;
                return Some(range);
            }
            range.variant |= !key.is_empty() && !is_our_charset(key, value);
        }
        Some(range)
    }

    fn rank(&self, offer: MediaType) -> Option<Rank> {
        let (kind, subtype) = offer.parts();
        if self.kind == b"*" {
            return Some(Rank::Any);
        }
        if !self.kind.eq_ignore_ascii_case(kind) {
            return None;
        }
        if self.subtype == b"*" {
            return Some(Rank::Type);
        }
        if !self.subtype.eq_ignore_ascii_case(subtype) {
            return None;
        }
        match self.variant {
            false => Some(Rank::Exact),
            // `text/html;level=1;q=0` refuses that variant only.
            true if self.worth == 0 => None,
            true => Some(Rank::Variant),
        }
    }
}

fn key_value(parameter: &[u8]) -> (&[u8], &[u8]) {
    match parameter.iter().position(|byte| *byte == b'=') {
        Some(equals) => (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii()),
        None => (parameter, b""),
    }
}

fn is_our_charset(key: &[u8], value: &[u8]) -> bool {
    let value = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value);
    key.eq_ignore_ascii_case(b"charset") && value.eq_ignore_ascii_case(b"utf-8")
}

/// `0`, `1`, `0.5`, `1.000`, and `.2` as old Java clients write it; at most three decimals.
fn parse_worth(value: &[u8]) -> Option<Worth> {
    let point = value.iter().position(|byte| *byte == b'.').unwrap_or(value.len());
    let (whole, decimals) = (&value[..point], value.get(point + 1..).unwrap_or_default());
    let whole: Worth = match whole {
        b"0" => 0,
        b"1" => 1000,
        b"" if !decimals.is_empty() => 0,
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let decimals = decimals
        .iter()
        .chain(b"000")
        .take(3)
        .fold(0, |sum, digit| sum * 10 + Worth::from(digit - b'0'));
    (whole + decimals <= 1000).then_some(whole + decimals)
}

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    const TOKEN: [bool; 256] = {
        let mut token = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            token[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let marks = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < marks.len() {
            token[marks[at] as usize] = true;
            at += 1;
        }
        token
    };
    !text.is_empty() && text.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// Pieces between separators that stand outside quoted strings.
struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
    has_quotes: bool,
}

impl<'a> Split<'a> {
    fn new(text: &'a [u8], separator: u8) -> Self {
        Self {
            rest: Some(text),
            separator,
            has_quotes: memchr::memchr(b'"', text).is_some(),
        }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        if !self.has_quotes {
            let end = memchr::memchr(self.separator, rest);
            self.rest = end.and_then(|end| rest.get(end + 1..));
            return rest.get(..end.unwrap_or(rest.len()));
        }
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                byte if *byte == self.separator && !quoted => {
                    self.rest = Some(&rest[at + 1..]);
                    return Some(&rest[..at]);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const OFFERS: [MediaType; 4] = [
        MediaType::ProblemJson,
        MediaType::Json,
        MediaType::Plain,
        MediaType::Html,
    ];

    fn chosen(lines: &[&str]) -> Option<MediaType> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, HeaderValue::from_str(line).expect("a header value"));
        }
        choose(&headers, OFFERS)
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(chosen(&["text/html;q=0.1", "text/plain"]), Some(MediaType::Plain));
    }

    #[test]
    fn a_range_gives_its_worth_to_types_that_no_narrower_range_names() {
        // RFC 9110's own example, with our offers.
        let header = "text/*;q=0.3, text/html;q=0.7, text/html;level=1, text/html;level=2;q=0.4, */*;q=0.5";
        assert_eq!(chosen(&[header]), Some(MediaType::Html));
    }

    proptest! {
        #[test]
        fn no_header_panics(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
            let mut headers = HeaderMap::new();
            for line in lines {
                if let Ok(value) = HeaderValue::from_bytes(&line) {
                    headers.append(header::ACCEPT, value);
                }
            }
            choose(&headers, OFFERS);
        }

        #[test]
        fn what_is_worth_nothing_is_never_chosen(
            ranges in prop::collection::vec(("[a-z*]{1,5}/[a-z*]{1,5}", 0..=1000_u16), 0..6)
        ) {
            let mut list: Vec<String> =
                ranges.iter().map(|(range, worth)| format!("{range};q={}", f64::from(*worth) / 1000.0)).collect();
            list.insert(0, "text/html;q=0".into());
            prop_assert_ne!(chosen(&[&list.join(", ")]), Some(MediaType::Html));
        }
    }
}
