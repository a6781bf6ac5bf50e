//! Addresses as text, for the many that are written for each request.

use std::{io::Write as _, net::IpAddr};

/// Appends an address as [`IpAddr`] shows it. IPv4 goes without the machinery of formatting.
pub fn push(out: &mut Vec<u8>, address: IpAddr) {
    let v4 = match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => {
            // Writing into memory does not fail.
            let _infallible = write!(out, "{v6}");
            return;
        }
    };
    let mut digits = itoa::Buffer::new();
    for (at, byte) in v4.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(digits.format(byte).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_look_as_everywhere(address: IpAddr) {
            let mut out = Vec::new();
            push(&mut out, address);
            prop_assert_eq!(String::from_utf8(out).expect("text"), address.to_string());
        }
    }
}
