//! What Cloudflare's language has and this one has not, with what to use instead: one table for the messages and for the
//! documentation.

/// Names that work at Cloudflare and not here.
#[derive(Debug)]
pub struct Elsewhere {
    /// The names; `prefix*` stands for all that begin so.
    pub names: &'static [&'static str],
    /// What to use instead, or why there is nothing.
    pub instead: &'static str,
}

impl Elsewhere {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| match known.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *known == name,
        })
    }
}

/// What to use instead of a field of Cloudflare's.
pub(super) fn field(name: &str) -> Option<&'static str> {
    find(FIELDS, name)
}

/// What to use instead of a function of Cloudflare's.
pub(super) fn function(name: &str) -> Option<&'static str> {
    find(FUNCTIONS, name)
}

fn find(table: &'static [Elsewhere], name: &str) -> Option<&'static str> {
    let entry = table.iter().find(|entry| entry.has(name))?;
    Some(entry.instead)
}

/// Fields; the first entry that has a name counts.
pub static FIELDS: &[Elsewhere] = &[
    Elsewhere {
        names: &["ip.src.geo.country"],
        instead: "use `ip.src.country`",
    },
    Elsewhere {
        names: &[
            "ip.src.city",
            "ip.src.lat",
            "ip.src.lon",
            "ip.src.metro_code",
            "ip.src.postal_code",
            "ip.src.region",
            "ip.src.region_code",
            "ip.src.subdivision_1_iso_code",
            "ip.src.subdivision_2_iso_code",
            "ip.src.timezone.name",
            "ip.geoip.*",
        ],
        instead: "places are known by country, continent and autonomous system: `ip.src.country`, `ip.src.continent`, `ip.src.asnum`",
    },
    Elsewhere {
        names: &["http.request.timestamp.msec"],
        instead: "use `http.request.timestamp.sec`",
    },
    Elsewhere {
        names: &["http.request.uri.path.basename"],
        instead: "compare the end of the path: `ends_with(http.request.uri.path, \"/name\")`",
    },
    Elsewhere {
        names: &["http.request.jwt*"],
        instead: "JSON Web Tokens are not verified here: let the application do it; what was sent is in `http.request.headers[\"authorization\"][0]`",
    },
    Elsewhere {
        names: &[
            "http.request.body*",
            "cf.waf.content_scan*",
            "cf.waf.credential_check*",
            "cf.waf.auth_detected",
            "cf.llm*",
        ],
        instead: "bodies stream through and are never read; judge the head, such as `http.request.headers[\"content-type\"][0]` or the header `content-length`",
    },
    Elsewhere {
        names: &["http.response*", "raw.http.response*", "cf.response*"],
        instead: "requests are judged before there is a response",
    },
    Elsewhere {
        names: &["cf.bot_management.static_resource"],
        instead: "use `http.request.uri.path.extension in {\"css\" \"js\" \"png\"}`",
    },
    Elsewhere {
        names: &[
            "cf.bot_management.ja3_hash",
            "cf.bot_management.ja4",
            "cf.tls_client_extensions_sha1*",
            "cf.tls_ciphers_sha1",
            "cf.tls_client_hello_length",
            "cf.tls_client_random",
        ],
        instead: "TLS handshakes are not fingerprinted; `http.user_agent` and `portcullis.user_agent.category` say what a client claims to be",
    },
    Elsewhere {
        names: &["cf.client.bot", "cf.verified_bot_category", "cf.bot_management*"],
        instead: "use `portcullis.user_agent.category`; anyone can claim to be a bot, so it is fit for blocking only",
    },
    Elsewhere {
        names: &["cf.threat_score"],
        instead: "it is always 0 at Cloudflare too; use an address list of your own: `ip.src in $name`",
    },
    Elsewhere {
        names: &["cf.waf*"],
        instead: "there is no attack score: match what you refuse with `contains`, `wildcard` or `matches`",
    },
    Elsewhere {
        names: &["cf.api_gateway.auth_id_present"],
        instead: "ask for the header or cookie: `has_key(http.request.headers, \"authorization\")`",
    },
    Elsewhere {
        names: &["cf.api_gateway*", "cf.schema_validation*"],
        instead: "there is no API schema here: list what is allowed by `http.request.method` and `http.request.uri.path`",
    },
    Elsewhere {
        names: &["cf.tls_client_auth*"],
        instead: "client certificates are not asked for; restrict by address, `ip.src in $name`, or by a header, `http.request.headers[\"x-token\"][0] eq \"…\"`",
    },
    Elsewhere {
        names: &["cf.tls*"],
        instead: "use `ssl` to tell TLS from plain HTTP",
    },
    Elsewhere {
        names: &["cf.edge.client_tcp", "cf.edge.l4*", "cf.timings*"],
        instead: "connections are not measured: rules see the request and where it is from",
    },
    Elsewhere {
        names: &["cf.edge*"],
        instead: "which of the listeners a request came to is no fact here: hosts and `ssl` tell them apart, `http.host eq \"example.com\" and ssl`",
    },
    Elsewhere {
        names: &["cf.worker*"],
        instead: "there are no Workers here: leave this condition out",
    },
    Elsewhere {
        names: &["cf.ray_id"],
        instead: "rules cannot see the request id; it is in the access record and in the refusal",
    },
    Elsewhere {
        names: &["cf.zone.name", "cf.hostname.metadata"],
        instead: "use `portcullis.site` or `http.host`",
    },
    Elsewhere {
        names: &["cf.random_seed"],
        instead: "decisions depend on the request alone: the same request is always judged alike",
    },
    Elsewhere {
        names: &["cf.*"],
        instead: "fields that begin with `cf.` are Cloudflare's own",
    },
    Elsewhere {
        names: &[
            "dns.*",
            "icmp",
            "icmp.*",
            "ip",
            "ip.dst*",
            "ip.hdr_len",
            "ip.len",
            "ip.opt*",
            "ip.proto*",
            "ip.ttl",
            "sip",
            "tcp",
            "tcp.*",
            "udp",
            "udp.*",
        ],
        instead: "only requests are looked at, not packets: use the `ip.src` and `http.request` fields",
    },
];

/// Functions.
pub static FUNCTIONS: &[Elsewhere] = &[
    Elsewhere {
        names: &["regex_replace", "remove_query_args", "wildcard_replace"],
        instead: "rules judge requests and never rewrite them; match with `matches` or `wildcard`",
    },
    Elsewhere {
        names: &["uuidv4"],
        instead: "decisions depend on the request alone: the same request is always judged alike",
    },
    Elsewhere {
        names: &["is_jwt_valid", "is_jwt_present"],
        instead: "JSON Web Tokens are not verified here: let the application do it, or sign URLs and check `is_timed_hmac_valid_v0`",
    },
    Elsewhere {
        names: &["bit_slice"],
        instead: "packets are not looked at, only requests",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::lang::{fields, functions};

    #[test]
    fn nothing_that_works_here_is_said_not_to() {
        for field in fields::ALL {
            assert_eq!(super::field(field.name), None, "{}", field.name);
        }
        for function in functions::ALL {
            assert_eq!(super::function(function.name), None, "{}", function.name);
        }
    }

    #[test]
    fn a_name_of_its_own_counts_before_its_prefix() {
        assert_eq!(field("cf.zone.name"), Some("use `portcullis.site` or `http.host`"));
        assert_eq!(
            field("cf.zone.plan"),
            Some("fields that begin with `cf.` are Cloudflare's own")
        );
        for name in fields::RENAMED.iter().map(|(old, _)| old) {
            assert!(fields::Field::named(name).is_some(), "{name}");
        }
    }
}
