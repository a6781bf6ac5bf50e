//! How long an answer is: told by the origin in a way that everyone downstream reads alike, or not believed.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// Whether an answer's framing has one meaning (RFC 9112 §6.3); afterwards its length is said once.
///
/// - `chunked` is the only transfer coding that is taken off here. With another one the client would get coded bytes and no
///   word of the coding, since the header concerns this connection alone.
/// - `Content-Length: 2, 2` and several equal lines become one value: a cache or a client that reads the first or the last
///   of several must read what we read.
pub(super) fn is_unambiguous(headers: &mut HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    is_plain && has_one_length(headers)
}

fn has_one_length(headers: &mut HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(first), second) = (lines.next(), lines.next()) else {
        return true;
    };
    if second.is_none() && number(first.as_bytes()).is_some() {
        return true;
    }
    let values = headers.get_all(CONTENT_LENGTH).iter();
    let mut lengths = values.flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(number));
    let Some(length) = lengths.next().flatten() else {
        return false;
    };
    let are_equal = lengths.all(|other| other == Some(length));
    if are_equal {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    are_equal
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.trim_ascii();
    // `parse` takes a sign too, which HTTP knows nothing of.
    let is_digits = digits.iter().all(u8::is_ascii_digit);
    is_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths_of(lines: &[(&'static str, &'static str)]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let lengths = |headers: &HeaderMap| {
            let lengths = headers.get_all(CONTENT_LENGTH).iter();
            lengths
                .map(|length| length.to_str().expect("text").to_owned())
                .collect()
        };
        is_unambiguous(&mut headers).then(|| lengths(&headers))
    }

    #[test]
    fn a_length_is_said_once() {
        for lines in [
            &[("content-length", "2")][..],
            &[("content-length", "2, 2")],
            &[("content-length", "2"), ("content-length", "2")],
            &[("content-length", "2 ,02"), ("content-length", "2")],
        ] {
            assert_eq!(lengths_of(lines), Some(vec!["2".to_owned()]), "{lines:?}");
        }
    }

    #[test]
    fn lengths_that_differ_or_are_none_are_faults() {
        for lines in [
            &[("content-length", "2, 3")][..],
            &[("content-length", "2"), ("content-length", "3")],
            &[("content-length", "2,")],
            &[("content-length", "+2")],
            &[("content-length", "-2")],
            &[("content-length", "0x2")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
        ] {
            assert_eq!(lengths_of(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        for coding in ["chunked", "Chunked"] {
            assert_eq!(
                lengths_of(&[("transfer-encoding", coding)]),
                Some(Vec::new()),
                "{coding}"
            );
        }
        for coding in [
            "gzip",
            "gzip, chunked",
            "chunked, identity",
            "identity",
            "chunked, chunked",
            "",
        ] {
            assert_eq!(lengths_of(&[("transfer-encoding", coding)]), None, "{coding}");
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(lengths_of(&twice), None);
    }
}
