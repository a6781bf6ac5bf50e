//! Every function there is: one table that the checker, the interpreter and the documentation read.

use bumpalo::Bump;

use super::{
    ast::{Base, Literal, Quantifier, Value},
    elsewhere, tokens, transform as t,
    types::{Datum, Scalar, Type},
};

/// A function that expressions can call.
#[derive(Debug)]
pub struct Function {
    /// As expressions write it.
    pub name: &'static str,
    /// What it takes, in order.
    pub parameters: &'static [Parameter],
    /// How many of them may be left out, from the last.
    pub optional: usize,
    /// Whether the last may be given several times.
    pub repeats: bool,
    /// What it is.
    pub body: Body,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    /// An expression that uses it.
    pub example: &'static str,
}

/// What a function takes.
#[derive(Debug)]
pub struct Parameter {
    /// What the documentation calls it.
    pub name: &'static str,
    /// The types it may have.
    pub accepts: &'static [Type],
    /// What it must be beyond that.
    pub restriction: Restriction,
}

/// What an argument must be beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// Nothing.
    None,
    /// An integer written in the rule, between these, both included.
    Between(i64, i64),
    /// A string written in the rule, not empty.
    Text,
    /// A string written in the rule, made of these characters.
    Flags(&'static str),
}

/// What a function is.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// `any` or `all`, over an array of Bool.
    Quantifier(Quantifier),
    /// A function of its arguments. If one is absent, so is the result.
    Of {
        /// The type of the result.
        returns: Type,
        /// The result; `None` is absent.
        call: for<'a> fn(&[Datum<'a>], &'a Bump) -> Option<Datum<'a>>,
    },
}

impl Function {
    /// The function of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|function| function.name == name)
    }

    /// The type of its result.
    pub fn returns(&self) -> Type {
        match self.body {
            Body::Quantifier(_) => Type::BOOL,
            Body::Of { returns, .. } => returns,
        }
    }

    /// `name(parameter Type, …): Type`
    pub fn signature(&self) -> String {
        let required = self.parameters.len() - self.optional;
        let parameters = self.parameters.iter().enumerate().map(|(at, parameter)| {
            let types: Vec<String> = parameter.accepts.iter().map(Type::to_string).collect();
            let text = format!("{} {}", parameter.name, types.join(" | "));
            if at < required { text } else { format!("[{text}]") }
        });
        let parameters: Vec<String> = parameters.collect();
        let more = if self.repeats { ", …" } else { "" };
        format!("{}({}{more}): {}", self.name, parameters.join(", "), self.returns())
    }

    /// The parameter that the argument at this position is for.
    pub fn parameter(&self, at: usize) -> Option<&'static Parameter> {
        let last = if self.repeats { self.parameters.last() } else { None };
        self.parameters.get(at).or(last)
    }
}

impl Restriction {
    /// What is wrong with an argument, if anything is.
    pub(super) fn fault(self, argument: &Value) -> Option<String> {
        let literal = match &argument.base {
            Base::Literal(literal) => Some(literal),
            Base::Field(_) | Base::Call(_) => None,
        };
        match (self, literal) {
            (Self::None, _) => None,
            (Self::Between(min, max), Some(Literal::Int(value))) if (min..=max).contains(value) => None,
            (Self::Between(min, max), _) => Some(format!("must be a number from {min} to {max}, written in the rule")),
            (Self::Text, Some(Literal::Text(text))) if !text.is_empty() => None,
            (Self::Text, _) => Some("must be a string written in the rule, and not empty".to_owned()),
            (Self::Flags(flags), Some(Literal::Text(text))) if text.iter().all(|b| flags.as_bytes().contains(b)) => {
                None
            }
            (Self::Flags(flags), _) => {
                let flags: Vec<String> = flags.chars().map(|flag| format!("\"{flag}\"")).collect();
                Some(format!("must be a string of these letters: {}", flags.join(", ")))
            }
        }
    }
}

const STRING: &[Type] = &[Type::STRING];
const INT: &[Type] = &[Type::INT];
const IP: &[Type] = &[Type::IP];
const CONDITION: &[Parameter] = &[takes("condition", &[Type::Array(Scalar::Bool)])];

const fn takes(name: &'static str, accepts: &'static [Type]) -> Parameter {
    Parameter {
        name,
        accepts,
        restriction: Restriction::None,
    }
}

const fn written(name: &'static str, accepts: &'static [Type], restriction: Restriction) -> Parameter {
    Parameter {
        name,
        accepts,
        restriction,
    }
}

const fn of(
    name: &'static str,
    parameters: &'static [Parameter],
    returns: Type,
    call: for<'a> fn(&[Datum<'a>], &'a Bump) -> Option<Datum<'a>>,
) -> Function {
    Function {
        name,
        parameters,
        optional: 0,
        repeats: false,
        body: Body::Of { returns, call },
        doc: "",
        example: "",
    }
}

const fn quantifier(name: &'static str, quantifier: Quantifier) -> Function {
    Function {
        name,
        parameters: CONDITION,
        optional: 0,
        repeats: false,
        body: Body::Quantifier(quantifier),
        doc: "",
        example: "",
    }
}

/// All functions, by name.
pub static ALL: &[Function] = &[
    Function {
        doc: "Whether the condition holds for every element. Of an empty array it does; of an absent one it does not.",
        example: r#"all(http.request.headers["content-type"][*] eq "application/json")"#,
        ..quantifier("all", Quantifier::All)
    },
    Function {
        doc: "Whether the condition holds for at least one element.",
        example: r#"any(http.request.headers["via"][*] contains "proxy")"#,
        ..quantifier("any", Quantifier::Any)
    },
    Function {
        doc: "The network address that an address is in, by the prefix length of its family.",
        example: "cidr(ip.src, 24, 48) eq 203.0.113.0",
        ..of(
            "cidr",
            &[
                takes("address", IP),
                written("ipv4_prefix", INT, Restriction::Between(0, 32)),
                written("ipv6_prefix", INT, Restriction::Between(0, 128)),
            ],
            Type::IP,
            t::cidr,
        )
    },
    Function {
        doc: "The network address that an IPv6 address is in; an IPv4 address stays as it is.",
        example: "cidr6(ip.src, 32) eq 2001:db8::",
        ..of(
            "cidr6",
            &[
                takes("address", IP),
                written("ipv6_prefix", INT, Restriction::Between(0, 128)),
            ],
            Type::IP,
            t::cidr6,
        )
    },
    Function {
        doc: "Its arguments one after the other.",
        example: r#"concat(http.host, http.request.uri.path) wildcard "example.com/a/*""#,
        repeats: true,
        ..of(
            "concat",
            &[takes("part", &[Type::STRING, Type::INT])],
            Type::STRING,
            t::concat,
        )
    },
    Function {
        doc: "The bytes that a Base64 text stands for (either alphabet, padded or not); absent when it is none.",
        example: r#"any(decode_base64(http.request.headers["client_id"][*])[*] eq "123abc")"#,
        ..of(
            "decode_base64",
            &[takes("text", STRING)],
            Type::STRING,
            t::decode_base64,
        )
    },
    Function {
        doc: "The bytes in Base64, without padding. Flags: `\"u\"` the URL-safe alphabet, `\"p\"` with padding.",
        example: r#"encode_base64(sha256(http.request.headers["x-key"][0])) eq "/s5Q0ih/ckWupYGbdfle6L7ClaFPjvHnox8X8drp30Q""#,
        optional: 1,
        ..of(
            "encode_base64",
            &[
                takes("bytes", STRING),
                written("flags", STRING, Restriction::Flags("up")),
            ],
            Type::STRING,
            tokens::encode_base64,
        )
    },
    Function {
        doc: "Whether the text ends so, byte for byte.",
        example: r#"ends_with(http.request.uri.path, ".bak")"#,
        ..of(
            "ends_with",
            &[takes("text", STRING), takes("end", STRING)],
            Type::BOOL,
            t::ends_with,
        )
    },
    Function {
        doc: "Whether the map has the name. Header names are in lower case.",
        example: r#"has_key(http.request.uri.args, "debug")"#,
        ..of(
            "has_key",
            &[takes("map", &[Type::Map]), written("name", STRING, Restriction::Text)],
            Type::BOOL,
            t::has_key,
        )
    },
    Function {
        doc: "Whether a value of the map, or an element of the array, is the text.",
        example: r#"has_value(http.request.uri.args, "on")"#,
        ..of(
            "has_value",
            &[takes("values", &[Type::Map, Type::STRINGS]), takes("value", STRING)],
            Type::BOOL,
            t::has_value,
        )
    },
    Function {
        doc: "Whether a text ends in a token that was signed with the key less than `lifetime` seconds before `now`: the message, a \
              separator of that many bytes, the time of issue (ten digits of seconds since 1970), `-`, and the HMAC-SHA256 of \
              message and time in percent-encoded Base64; with the flag `\"s\"` in URL-safe Base64 without padding. Sign what is \
              sent and ask about `raw.http.request.uri`: it has one reading. Whoever reads the rules reads the key.",
        example: r#"not is_timed_hmac_valid_v0("a-long-secret", raw.http.request.uri, 10800, http.request.timestamp.sec, 8)"#,
        optional: 2,
        ..of(
            "is_timed_hmac_valid_v0",
            &[
                written("key", STRING, Restriction::Text),
                takes("signed", STRING),
                written("lifetime", INT, Restriction::Between(1, i64::MAX)),
                takes("now", INT),
                written("separator_length", INT, Restriction::Between(0, 1024)),
                written("flags", STRING, Restriction::Flags("s")),
            ],
            Type::BOOL,
            tokens::is_timed_hmac_valid,
        )
    },
    Function {
        doc: "The strings one after the other, with the separator between them.",
        example: r#"join(http.request.headers.names, ",") contains "x-a,x-b""#,
        ..of(
            "join",
            &[takes("strings", &[Type::STRINGS]), takes("separator", STRING)],
            Type::STRING,
            t::join,
        )
    },
    Function {
        doc: "The number of bytes of a string, or of elements of an array.",
        example: "len(http.request.uri.query) gt 2048",
        ..of(
            "len",
            &[takes("value", &[Type::STRING, Type::STRINGS])],
            Type::INT,
            t::len,
        )
    },
    Function {
        doc: "The integer at a place in a JSON text: names of members and positions in arrays, from the outside in. \
              Absent when there is none.",
        example: r#"lookup_json_integer(http.request.headers["x-client"][0], "version") lt 3"#,
        repeats: true,
        ..of(
            "lookup_json_integer",
            &[takes("json", STRING), takes("key", &[Type::STRING, Type::INT])],
            Type::INT,
            t::lookup_json_integer,
        )
    },
    Function {
        doc: "The string at a place in a JSON text: names of members and positions in arrays, from the outside in. \
              Absent when there is none.",
        example: r#"lookup_json_string(http.request.headers["x-client"][0], "app", "name") eq "kiosk""#,
        repeats: true,
        ..of(
            "lookup_json_string",
            &[takes("json", STRING), takes("key", &[Type::STRING, Type::INT])],
            Type::STRING,
            t::lookup_json_string,
        )
    },
    Function {
        doc: "The text with its ASCII letters in lower case.",
        example: r#"lower(http.user_agent) contains "bot""#,
        ..of("lower", &[takes("text", STRING)], Type::STRING, t::lower)
    },
    Function {
        doc: "The text without any of these bytes.",
        example: r#"remove_bytes(http.request.uri.query, "'\" ") contains "unionselect""#,
        ..of(
            "remove_bytes",
            &[takes("text", STRING), written("bytes", STRING, Restriction::Text)],
            Type::STRING,
            t::remove_bytes,
        )
    },
    Function {
        doc: "The 32 bytes of the text's SHA-256: compare them in Base64, so that no secret stands in the rules.",
        example: r#"encode_base64(sha256(http.request.headers["x-key"][0]), "p") eq "/s5Q0ih/ckWupYGbdfle6L7ClaFPjvHnox8X8drp30Q=""#,
        ..of("sha256", &[takes("text", STRING)], Type::STRING, tokens::sha256)
    },
    Function {
        doc: "The pieces between the separators, at most `limit`; the last piece then holds the rest.",
        example: r#"split(http.host, ".", 2)[0] eq "staging""#,
        ..of(
            "split",
            &[
                takes("text", STRING),
                written("separator", STRING, Restriction::Text),
                written("limit", INT, Restriction::Between(1, 128)),
            ],
            Type::STRINGS,
            t::split,
        )
    },
    Function {
        doc: "Whether the text starts so, byte for byte.",
        example: r#"starts_with(http.request.uri.path, "/api/")"#,
        ..of(
            "starts_with",
            &[takes("text", STRING), takes("start", STRING)],
            Type::BOOL,
            t::starts_with,
        )
    },
    Function {
        doc: "The bytes from `start` up to and without `end`, counted from 0; negative ones count from the end.",
        example: r#"substring(http.request.uri.path, 0, 4) eq "/v1/""#,
        optional: 1,
        ..of(
            "substring",
            &[takes("text", STRING), takes("start", INT), takes("end", INT)],
            Type::STRING,
            t::substring,
        )
    },
    Function {
        doc: "An integer, address or truth as text.",
        example: r#"starts_with(to_string(ip.src.asnum), "64")"#,
        ..of(
            "to_string",
            &[takes("value", &[Type::INT, Type::IP, Type::BOOL])],
            Type::STRING,
            t::to_string,
        )
    },
    Function {
        doc: "The text with its ASCII letters in upper case.",
        example: r#"upper(http.request.uri.query) contains "SELECT""#,
        ..of("upper", &[takes("text", STRING)], Type::STRING, t::upper)
    },
    Function {
        doc: "The text with `%xx` and `+` decoded. Options: `\"r\"` decodes until nothing is left to decode, `\"u\"` decodes \
              `%uxxxx` too.",
        example: r#"url_decode(http.request.uri.query, "r") contains "../""#,
        optional: 1,
        ..of(
            "url_decode",
            &[
                takes("text", STRING),
                written("options", STRING, Restriction::Flags("ru")),
            ],
            Type::STRING,
            t::url_decode,
        )
    },
];

/// What to use instead of a function that other languages have.
pub(super) fn not_available(name: &str) -> Option<&'static str> {
    elsewhere::function(name).or(match name {
        "exists" => Some("use `has_key(map, \"name\")`"),
        "ip_in_range" => Some("use `ip.src in {…}`"),
        "startswith" | "startsWith" => Some("use `starts_with`"),
        "endswith" | "endsWith" => Some("use `ends_with`"),
        "contains" => Some("it is an operator: `http.user_agent contains \"curl\"`"),
        "matches" => Some("it is an operator: `http.user_agent matches \"…\"`"),
        "tolower" | "to_lower" | "lowercase" => Some("use `lower`"),
        "toupper" | "to_upper" | "uppercase" => Some("use `upper`"),
        _ => None,
    })
}
