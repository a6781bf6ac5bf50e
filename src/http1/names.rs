//! Names of headers that nearly every message has, known by three of their marks: they cost neither memory nor a search.

use http::{HeaderName, header};

/// The header of this name, in whatever case; `None` if it is no name.
pub(super) fn header_name(name: &[u8]) -> Option<HeaderName> {
    // Proxies and many programs write lower case, browsers do not.
    let is = |known: &[u8]| known == name || known.eq_ignore_ascii_case(name);
    let known = likely(name).filter(|known| is(known.as_str().as_bytes()));
    known.or_else(|| HeaderName::from_bytes(name).ok())
}

/// The one well-known name that this one can be, by its length, its first byte and its last but two.
fn likely(name: &[u8]) -> Option<HeaderName> {
    let [first, .., mark, _, _] = name else { return None };
    let likely = match (name.len(), first | 0x20, mark | 0x20) {
        (4, b'd', b'a') => header::DATE,
        (4, b'e', b't') => header::ETAG,
        (4, b'h', b'o') => header::HOST,
        (4, b'v', b'a') => header::VARY,
        (5, b'r', b'n') => header::RANGE,
        (6, b'a', b'e') => header::ACCEPT,
        (6, b'c', b'k') => header::COOKIE,
        (6, b'o', b'g') => header::ORIGIN,
        (6, b'p', b'g') => header::PRAGMA,
        (6, b's', b'v') => header::SERVER,
        (7, b'e', b'r') => header::EXPIRES,
        (7, b'r', b'r') => header::REFERER,
        (7, b'u', b'a') => header::UPGRADE,
        (8, b'l', b'i') => header::LOCATION,
        (8, b'p', b'i') => const { HeaderName::from_static("priority") },
        (9, b's', b'-') => const { HeaderName::from_static("sec-ch-ua") },
        (10, b'c', b'i') => header::CONNECTION,
        (10, b'k', b'i') => const { HeaderName::from_static("keep-alive") },
        (10, b's', b'k') => header::SET_COOKIE,
        (10, b'u', b'e') => header::USER_AGENT,
        (12, b'c', b'y') => header::CONTENT_TYPE,
        (12, b'x', b'-') => const { HeaderName::from_static("x-request-id") },
        (13, b'a', b'g') => header::ACCEPT_RANGES,
        (13, b'a', b'i') => header::AUTHORIZATION,
        (13, b'c', b'r') => header::CACHE_CONTROL,
        (13, b'i', b't') => header::IF_NONE_MATCH,
        (13, b'l', b'i') => header::LAST_MODIFIED,
        (14, b'c', b'g') => header::CONTENT_LENGTH,
        (14, b's', b'e') => const { HeaderName::from_static("sec-fetch-dest") },
        (14, b's', b'i') => const { HeaderName::from_static("sec-fetch-site") },
        (14, b's', b'o') => const { HeaderName::from_static("sec-fetch-mode") },
        (14, b's', b's') => const { HeaderName::from_static("sec-fetch-user") },
        (15, b'a', b'a') => header::ACCEPT_LANGUAGE,
        (15, b'a', b'i') => header::ACCEPT_ENCODING,
        (15, b'x', b'f') => const { HeaderName::from_static("x-forwarded-for") },
        (16, b'c', b'i') => header::CONTENT_ENCODING,
        (16, b's', b'i') => const { HeaderName::from_static("sec-ch-ua-mobile") },
        (17, b'i', b'n') => header::IF_MODIFIED_SINCE,
        (17, b't', b'i') => header::TRANSFER_ENCODING,
        (17, b'x', b'o') => const { HeaderName::from_static("x-forwarded-proto") },
        (18, b's', b'o') => const { HeaderName::from_static("sec-ch-ua-platform") },
        (25, b's', b'i') => header::STRICT_TRANSPORT_SECURITY,
        (25, b'u', b's') => header::UPGRADE_INSECURE_REQUESTS,
        _ => return None,
    };
    Some(likely)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &str = "Date ETag Host Vary Range Accept Cookie Origin Pragma Server Expires Referer Upgrade Location Priority \
        Sec-CH-UA Connection Keep-Alive Set-Cookie User-Agent Content-Type X-Request-Id Accept-Ranges Authorization \
        Cache-Control If-None-Match Last-Modified Content-Length Sec-Fetch-Dest Sec-Fetch-Site Sec-Fetch-Mode Sec-Fetch-User \
        Accept-Language Accept-Encoding X-Forwarded-For Content-Encoding Sec-CH-UA-Mobile If-Modified-Since \
        Transfer-Encoding X-Forwarded-Proto Sec-CH-UA-Platform Strict-Transport-Security Upgrade-Insecure-Requests";

    #[test]
    fn the_names_of_ordinary_messages_are_known_at_once() {
        for name in KNOWN.split_whitespace() {
            assert_eq!(
                likely(name.as_bytes()).map(|known| known.to_string()),
                Some(name.to_ascii_lowercase())
            );
        }
    }

    proptest! {
        #[test]
        fn a_name_is_what_it_would_be_without_knowing_any(
            name in prop_oneof![proptest::collection::vec(any::<u8>(), 0..30), "[A-Za-z-]{0,26}".prop_map(String::into_bytes)],
            known in proptest::sample::select(KNOWN.split_whitespace().collect::<Vec<_>>()),
            at in 0_usize..30,
            byte: u8,
        ) {
            let mut changed = known.as_bytes().to_vec();
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            for name in [name, changed, known.to_ascii_uppercase().into_bytes()] {
                prop_assert_eq!(header_name(&name), HeaderName::from_bytes(&name).ok());
            }
        }
    }
}
