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
        names: &["ip.geoip.country", "ip.src.geo.country"],
        instead: "use `ip.src.country`",
    },
    Elsewhere {
        names: &["ip.geoip.continent"],
        instead: "use `ip.src.continent`",
    },
    Elsewhere {
        names: &["ip.geoip.asnum"],
        instead: "use `ip.src.asnum`",
    },
    Elsewhere {
        names: &["ip.geoip.is_in_european_union"],
        instead: "use `ip.src.is_in_european_union`",
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
        names: &["http.request.accepted_languages"],
        instead: "use `http.request.headers[\"accept-language\"]`",
    },
    Elsewhere {
        names: &["http.request.headers.truncated"],
        instead: "headers are never truncated here: too many or too large ones are refused",
    },
    Elsewhere {
        names: &["http.request.jwt*"],
        instead: "tokens are not parsed; see `http.request.headers[\"authorization\"]`",
    },
    Elsewhere {
        names: &["http.request.body*"],
        instead: "bodies stream through and are never read; judge the head, such as the header `content-length`",
    },
    Elsewhere {
        names: &["http.response*", "raw.http.response*"],
        instead: "requests are judged before there is a response",
    },
    Elsewhere {
        names: &["raw.http.request.uri.args*"],
        instead: "use `http.request.uri.args`: its values are as sent",
    },
    Elsewhere {
        names: &["raw.http.request.uri.path.extension"],
        instead: "use `http.request.uri.path.extension`",
    },
    Elsewhere {
        names: &[
            "cf.client.bot",
            "cf.bot_management.verified_bot",
            "cf.verified_bot_category",
            "cf.bot_management.score",
        ],
        instead: "use `portcullis.user_agent.category`; anyone can claim to be a bot, so it is fit for blocking only",
    },
    Elsewhere {
        names: &["cf.threat_score"],
        instead: "use an address list of your own: `ip.src in $name`",
    },
    Elsewhere {
        names: &["cf.edge.server_port", "tcp.dstport"],
        instead: "listeners have their own ports; `ssl` says whether TLS is spoken",
    },
    Elsewhere {
        names: &["cf.tls*"],
        instead: "use `ssl` to tell TLS from plain HTTP",
    },
    Elsewhere {
        names: &["cf.zone.name"],
        instead: "use `portcullis.site`",
    },
    Elsewhere {
        names: &["cf.random_seed"],
        instead: "decisions depend on the request alone",
    },
    Elsewhere {
        names: &["cf.*"],
        instead: "fields that begin with `cf.` are Cloudflare's own",
    },
];

/// Functions.
pub static FUNCTIONS: &[Elsewhere] = &[
    Elsewhere {
        names: &[
            "encode_base64",
            "regex_replace",
            "remove_query_args",
            "sha256",
            "uuidv4",
            "wildcard_replace",
        ],
        instead: "rules judge requests and never rewrite them; match with `matches` or `wildcard`",
    },
    Elsewhere {
        names: &["is_timed_hmac_valid_v0"],
        instead: "tokens are not verified here; let the application do it",
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
        assert_eq!(field("cf.zone.name"), Some("use `portcullis.site`"));
        assert_eq!(
            field("cf.zone.plan"),
            Some("fields that begin with `cf.` are Cloudflare's own")
        );
        assert_eq!(field("ip.geoip.asnum"), Some("use `ip.src.asnum`"));
    }
}
