//! What a value can be: the types that the checker knows and the values that the interpreter handles.

use std::{fmt, net::IpAddr};

use bumpalo::{Bump, collections::Vec};

use super::fields::MapField;
use super::request::Input;

/// A value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// One value.
    One(Scalar),
    /// Values in order.
    Array(Scalar),
    /// The elements of an array one by one, written `array[*]`.
    Each(Scalar),
    /// Names, each with an array of strings.
    Map,
}

/// The type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// True or false.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// Bytes, mostly text.
    String,
    /// An IP address.
    Ip,
}

impl Type {
    /// True or false.
    pub const BOOL: Self = Self::One(Scalar::Bool);
    /// An integer.
    pub const INT: Self = Self::One(Scalar::Int);
    /// Bytes, mostly text.
    pub const STRING: Self = Self::One(Scalar::String);
    /// An IP address.
    pub const IP: Self = Self::One(Scalar::Ip);
    /// Strings in order.
    pub const STRINGS: Self = Self::Array(Scalar::String);
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "Bool",
            Self::Int => "Int",
            Self::String => "String",
            Self::Ip => "IP",
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(scalar) => scalar.fmt(f),
            Self::Array(scalar) => write!(f, "Array<{scalar}>"),
            Self::Each(scalar) => write!(f, "each {scalar} of an array"),
            Self::Map => f.write_str("Map<Array<String>>"),
        }
    }
}

/// A value while a request is judged; an absent one is `None` of an option around it. It lives in the request, in the rule
/// or in the arena of the judgement under way, so that asking costs no allocation.
#[derive(Debug, Clone, Copy)]
pub enum Datum<'a> {
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Bytes, mostly text.
    Text(&'a [u8]),
    /// An IP address.
    Ip(IpAddr),
    /// Values in order.
    Array(&'a [Datum<'a>]),
    /// A map, looked up when asked.
    Map(&'static MapField, &'a Input<'a>),
    /// An element of an array that has no value.
    Absent,
}

impl<'a> Datum<'a> {
    /// Text that lives in the request.
    pub fn text(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }

    /// The bytes, if it is text.
    pub fn as_text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(_) | Self::Int(_) | Self::Ip(_) | Self::Array(_) | Self::Map(..) | Self::Absent => None,
        }
    }

    /// What a value prints as.
    pub fn printed(value: impl fmt::Display, arena: &'a Bump) -> Self {
        Self::text(bumpalo::format!(in arena, "{}", value).into_bump_str())
    }

    /// An array of values.
    pub fn array(values: impl IntoIterator<Item = Datum<'a>>, arena: &'a Bump) -> Self {
        Self::Array(Vec::from_iter_in(values, arena).into_bump_slice())
    }

    /// An array of strings.
    pub fn strings(strings: impl IntoIterator<Item = &'a [u8]>, arena: &'a Bump) -> Self {
        Self::array(strings.into_iter().map(Self::Text), arena)
    }
}

/// As `explain` shows it.
impl fmt::Display for Datum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Text(text) => super::print::write_shown(f, text),
            Self::Ip(address) => address.fmt(f),
            Self::Array(elements) => {
                f.write_str("[")?;
                for (at, element) in elements.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{element}")?;
                }
                f.write_str("]")
            }
            Self::Map(..) => f.write_str("{…}"),
            Self::Absent => f.write_str("absent"),
        }
    }
}
