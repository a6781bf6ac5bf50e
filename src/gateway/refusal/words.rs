//! What each reason means to the person who is refused: status, headline, sentences, and Cloudflare's number.
//!
//! The one table behind every body. A new [`Reason`] does not compile until it has its words here.

use http::StatusCode;

use crate::policy::decision::Reason;

/// The words for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words {
    /// The status, unless a rule, the site or the caller says otherwise.
    pub(super) status: StatusCode,
    /// A headline.
    pub(super) title: &'static str,
    /// One sentence: what happened.
    pub(super) detail: &'static str,
    /// One sentence: what the reader can do.
    pub(super) advice: &'static str,
    /// Cloudflare's error number, where it has one for the same cause.
    pub(super) error_code: Option<u16>,
}

/// What a visitor can do about a refusal whose cause is not told, or about most that are.
pub(super) const ASK_OWNER: &str =
    "If you think this is a mistake, write to the owner of this site and quote the request ID below.";
/// What a visitor can do when nothing is wrong with the request.
pub(super) const TRY_LATER: &str = "Please try again in a few minutes. If it keeps happening, write to the owner of this site and quote the request \
     ID below.";
const CHECK_ADDRESS: &str = "Check the address for typing mistakes, or go back to the page you came from.";

const DENIED: &str = "Access denied";

/// The words for `reason`.
pub(super) fn words(reason: Reason) -> Words {
    let words = |status, title, detail, advice, error_code| Words {
        status,
        title,
        detail,
        advice,
        error_code,
    };
    let denied = |detail, advice, error_code| words(StatusCode::FORBIDDEN, DENIED, detail, advice, error_code);
    match reason {
        Reason::IpBlocked => denied("Your IP address is blocked on this site.", ASK_OWNER, Some(1006)),
        Reason::AsnBlocked => denied(
            "The network you are connecting from is blocked on this site.",
            ASK_OWNER,
            Some(1005),
        ),
        Reason::CountryBlocked => denied(
            "This site is not available in the country or region you are connecting from.",
            ASK_OWNER,
            Some(1009),
        ),
        Reason::Rule => denied("A rule of this site refused the request.", ASK_OWNER, Some(1020)),
        Reason::Lockdown => denied(
            "This part of the site is open to certain networks only, and yours is not one of them.",
            ASK_OWNER,
            Some(1106),
        ),
        Reason::UserAgent => denied(
            "The program that made this request is not allowed on this site.",
            ASK_OWNER,
            Some(1010),
        ),
        Reason::Hotlink => denied(
            "This file cannot be shown on, or linked to from, another site.",
            "Open it from the site that it belongs to.",
            Some(1011),
        ),
        Reason::Default => denied(
            "This site lets in only those who are explicitly allowed.",
            ASK_OWNER,
            None,
        ),
        Reason::Malformed => words(
            StatusCode::BAD_REQUEST,
            "Bad request",
            "The request breaks the rules of HTTP, or could be read in more than one way.",
            CHECK_ADDRESS,
            None,
        ),
        Reason::UnknownHost => words(
            StatusCode::MISDIRECTED_REQUEST,
            "Unknown site",
            "There is no site with this name here.",
            CHECK_ADDRESS,
            None,
        ),
        Reason::Misdirected => words(
            StatusCode::MISDIRECTED_REQUEST,
            "Wrong connection",
            "The request came over a connection that was opened to another site.",
            "Reload the page.",
            None,
        ),
        Reason::TooLarge => words(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Too large",
            "The request is larger than this site accepts.",
            "Send less at once. If the page itself is too much, delete this site's cookies and try again.",
            None,
        ),
        Reason::TooSlow => words(
            StatusCode::REQUEST_TIMEOUT,
            "Too slow",
            "The request took too long to arrive.",
            "Check your connection and try again.",
            None,
        ),
        Reason::NotSupported => words(
            StatusCode::NOT_IMPLEMENTED,
            "Not supported",
            "This site does not serve this kind of request.",
            CHECK_ADDRESS,
            None,
        ),
        Reason::Overloaded => words(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too busy",
            "There are too many requests at the moment.",
            TRY_LATER,
            None,
        ),
        Reason::UpstreamDown => words(
            StatusCode::BAD_GATEWAY,
            "Site not reachable",
            "The application behind this address cannot be reached.",
            TRY_LATER,
            None,
        ),
        Reason::UpstreamTimeout => words(
            StatusCode::GATEWAY_TIMEOUT,
            "No answer in time",
            "The application behind this address took too long to answer.",
            TRY_LATER,
            None,
        ),
    }
}

/// Whether a rule or the site's default refused, rather than the gateway for want of a request or an origin that works.
pub(super) fn is_policy(reason: Reason) -> bool {
    match reason {
        Reason::IpBlocked
        | Reason::AsnBlocked
        | Reason::CountryBlocked
        | Reason::Rule
        | Reason::Lockdown
        | Reason::UserAgent
        | Reason::Hotlink
        | Reason::Default => true,
        Reason::Malformed
        | Reason::UnknownHost
        | Reason::Misdirected
        | Reason::TooLarge
        | Reason::TooSlow
        | Reason::NotSupported
        | Reason::Overloaded
        | Reason::UpstreamDown
        | Reason::UpstreamTimeout => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_by_policy_is_a_403_and_no_other_is() {
        for reason in Reason::ALL {
            assert_eq!(
                words(reason).status == StatusCode::FORBIDDEN,
                is_policy(reason),
                "{reason:?}"
            );
        }
    }

    #[test]
    fn every_reason_has_a_detail_of_its_own() {
        let details: std::collections::BTreeSet<_> = Reason::ALL.map(|reason| words(reason).detail).into();
        assert_eq!(details.len(), Reason::ALL.len());
    }
}
