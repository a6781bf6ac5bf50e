//! Functions that check tokens: digests, and URLs that were signed for a time.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac};
use bumpalo::{Bump, collections::Vec};
use percent_encoding::percent_decode;

use super::{transform::base64, types::Datum};

/// A timestamp's digits.
const DIGITS: usize = 10;
/// The length of a SHA-256 in Base64, without padding.
const SHORTEST_MAC: usize = 43;

pub(super) fn sha256<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Text(text)] => {
            let digest = digest::digest(&digest::SHA256, text);
            Some(Datum::Text(arena.alloc_slice_copy(digest.as_ref())))
        }
        _ => None,
    }
}

pub(super) fn encode_base64<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    let (text, flags) = match arguments {
        [Datum::Text(text)] => (*text, &b""[..]),
        [Datum::Text(text), Datum::Text(flags)] => (*text, *flags),
        _ => return None,
    };
    let last_two = if flags.contains(&b'u') { b"-_" } else { b"+/" };
    let mut encoded = Vec::with_capacity_in(text.len().div_ceil(3) * 4, arena);
    for group in text.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            if at <= group.len() {
                encoded.push(letter(((bits >> (18 - 6 * at)) & 63) as u8, last_two));
            } else if flags.contains(&b'p') {
                encoded.push(b'=');
            }
        }
    }
    Some(Datum::Text(encoded.into_bump_slice()))
}

fn letter(six: u8, last_two: &[u8; 2]) -> u8 {
    match six {
        0..26 => b'A' + six,
        26..52 => b'a' + (six - 26),
        52..62 => b'0' + (six - 52),
        62 => last_two[0],
        _ => last_two[1],
    }
}

pub(super) fn is_timed_hmac_valid<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    let [
        Datum::Text(key),
        Datum::Text(signed),
        Datum::Int(lifetime),
        Datum::Int(now),
        options @ ..,
    ] = arguments
    else {
        return None;
    };
    let separator = match options {
        [Datum::Int(len), ..] => usize::try_from(*len).ok()?,
        _ => 0,
    };
    let is_url_safe = matches!(options, [_, Datum::Text(flags)] if flags.contains(&b's'));
    let is_valid = Token::find(signed, separator).is_some_and(|token| {
        let is_current = token.issued.checked_add(*lifetime).is_none_or(|end| *now < end);
        is_current && token.is_signed_with(key, is_url_safe, arena)
    });
    Some(Datum::Bool(is_valid))
}

/// `message`, a separator, the time of issue in ten digits, `-`, and the Base64 of an HMAC-SHA256 of message and time.
struct Token<'t> {
    message: &'t [u8],
    time: &'t [u8],
    issued: i64,
    mac: &'t [u8],
}

impl<'t> Token<'t> {
    /// The one that ends the text. In a URL-safe MAC there may be dashes, too: the last one that can be meant counts.
    fn find(text: &'t [u8], separator: usize) -> Option<Self> {
        let latest = text.len().checked_sub(SHORTEST_MAC + 1)?;
        (DIGITS..=latest)
            .rev()
            .filter(|dash| text[*dash] == b'-')
            .find_map(|dash| {
                let time = &text[dash - DIGITS..dash];
                let message = text.get(..(dash - DIGITS).checked_sub(separator)?)?;
                let issued = std::str::from_utf8(time)
                    .ok()
                    .filter(|_| time.iter().all(u8::is_ascii_digit))?;
                Some(Self {
                    message: Some(message).filter(|message| !message.is_empty())?,
                    time,
                    issued: issued.parse().ok()?,
                    mac: &text[dash + 1..],
                })
            })
    }

    fn is_signed_with(&self, key: &[u8], is_url_safe: bool, arena: &Bump) -> bool {
        let mac = if is_url_safe {
            base64(self.mac, arena)
        } else {
            // Not as forms decode: a `+` is a letter of Base64, no space.
            base64(
                Vec::from_iter_in(percent_decode(self.mac), arena).into_bump_slice(),
                arena,
            )
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        context.update(self.message);
        context.update(self.time);
        let expected = context.sign();
        mac.is_some_and(|mac| verify_slices_are_equal(mac, expected.as_ref()).is_ok())
    }
}
