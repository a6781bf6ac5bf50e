//! One look at all lines of a head, for what most heads do not have.

use http::HeaderMap;

use crate::gateway::headers::is_hop_by_hop;

/// What a head has, and how long its lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Survey {
    marks: u8,
    /// As HTTP/2 counts, less its overhead: name, value, and what separates them.
    pub(in crate::gateway) bytes: usize,
}

/// Lines that are looked at closely where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Mark {
    /// `Content-Length` or `Transfer-Encoding`.
    Framing,
    /// `Expect`
    Expect,
    /// `Upgrade`
    Upgrade,
    /// `TE`
    Te,
    /// What is for this connection only, `Connection` included.
    HopByHop,
    /// More than one `Cookie`.
    Cookies,
    /// A name with other marks than `-`.
    OddName,
}

impl Mark {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Survey {
    pub(in crate::gateway) fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self { marks: 0, bytes: 0 };
        let mut cookies = 0;
        for (name, value) in headers {
            let name = name.as_str();
            survey.bytes += name.len() + value.len() + 4;
            survey.set(Mark::OddName, is_odd(name));
            // All that follows begins with one of these, and few others do.
            if !matches!(
                name.as_bytes().first(),
                Some(b'c' | b'e' | b'h' | b'k' | b'p' | b't' | b'u')
            ) {
                continue;
            }
            survey.set(Mark::HopByHop, is_hop_by_hop(name));
            match name {
                "content-length" | "transfer-encoding" => survey.set(Mark::Framing, true),
                "expect" => survey.set(Mark::Expect, true),
                "upgrade" => survey.set(Mark::Upgrade, true),
                "te" => survey.set(Mark::Te, true),
                "cookie" => cookies += 1,
                _ => {}
            }
        }
        survey.set(Mark::Cookies, cookies > 1);
        survey
    }

    pub(in crate::gateway) fn has(&self, mark: Mark) -> bool {
        self.marks & mark.bit() != 0
    }

    fn set(&mut self, mark: Mark, is_there: bool) {
        self.marks |= if is_there { mark.bit() } else { 0 };
    }
}

/// Whether a name, which is in lower case, has other marks than `-`.
pub(in crate::gateway) fn is_odd(name: &str) -> bool {
    const ODD: [bool; 256] = {
        let mut odd = [true; 256];
        let mut byte = 0;
        while byte < 256 {
            odd[byte] = !(byte as u8).is_ascii_lowercase() && !(byte as u8).is_ascii_digit() && byte as u8 != b'-';
            byte += 1;
        }
        odd
    };
    name.bytes().any(|byte| ODD[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn survey(names: &[&'static str]) -> Survey {
        let line = |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        let mut headers = HeaderMap::new();
        for (name, value) in names.iter().map(line) {
            headers.append(name, value);
        }
        Survey::of(&headers)
    }

    #[test]
    fn every_line_that_matters_is_marked() {
        for (name, mark) in [
            ("content-length", Mark::Framing),
            ("transfer-encoding", Mark::Framing),
            ("expect", Mark::Expect),
            ("upgrade", Mark::Upgrade),
            ("te", Mark::Te),
            ("x_y", Mark::OddName),
            ("a.b", Mark::OddName),
        ] {
            assert!(survey(&["accept", name, "via"]).has(mark), "{name}");
            assert!(!survey(&["accept", "via", "x-y"]).has(mark), "{name}");
        }
        for name in [
            "connection",
            "http2-settings",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
        ] {
            assert!(is_hop_by_hop(name) && survey(&[name]).has(Mark::HopByHop), "{name}");
        }
        assert!(survey(&["cookie", "cookie"]).has(Mark::Cookies) && !survey(&["cookie"]).has(Mark::Cookies));
        assert_eq!(survey(&["a", "b"]).bytes, 2 * "a: 1\r\n".len());
    }
}
