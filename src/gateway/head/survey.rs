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
