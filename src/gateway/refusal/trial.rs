//! The trial of a template at load: every reason, every degree of disclosure, and values that try to break out.

use std::{net::Ipv6Addr, sync::Arc};

use http::{HeaderMap, Method};
use minijinja::Error;
use serde::de::IgnoredAny;

use super::{
    Refusal,
    template::{Format, fault, line_span},
    values::Values,
    words,
};
use crate::{
    config::settings::Disclose,
    policy::{
        client::ClientIp,
        decision::Reason,
        facts::Country,
        fault::{Fault, Place, Source},
        rule::Timestamp,
    },
};

/// Renders with all that a template may meet; the first failure is the fault.
pub(super) fn run(
    source: &Arc<Source>,
    format: Format,
    render: impl Fn(&Values<'_>) -> Result<String, Error>,
) -> Result<(), Fault> {
    let headers = HeaderMap::new();
    for reason in Reason::ALL {
        let refusal = hostile(reason, &headers);
        for disclose in [Disclose::Rule, Disclose::Reason, Disclose::Nothing] {
            let mut values = Values::new(&refusal, words::words(reason).status, disclose);
            if disclose == Disclose::Rule {
                values.rule = Some("trial\"rule");
            }
            let rendered = render(&values).map_err(|error| fault(source, &error))?;
            match format {
                Format::Html => {}
                Format::Json => parse(source, &rendered, &values)?,
            }
        }
    }
    Ok(())
}

/// A refusal whose texts are no JSON outside of quotes, and break out of them if they are not escaped.
fn hostile(reason: Reason, headers: &HeaderMap) -> Refusal<'_> {
    Refusal {
        reason,
        status: None,
        fault: Some("trial\"fault"),
        rule: None,
        method: &Method::GET,
        headers,
        request_id: "trial\"\\<id>",
        client: Some(ClientIp::new(Ipv6Addr::LOCALHOST.into())),
        country: Country::UNKNOWN,
        host: Some("trial\"\\<host>"),
        now: Timestamp(0),
    }
}

fn parse(source: &Arc<Source>, rendered: &str, values: &Values<'_>) -> Result<(), Fault> {
    let Err(error) = serde_json::from_str::<IgnoredAny>(rendered) else {
        return Ok(());
    };
    // Tags do not swallow line ends, so the lines of a template without loops are those of what it renders.
    let line = rendered.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let span = line_span(&source.text, error.line()).unwrap_or(0..0);
    let case = match values.cause {
        Some(cause) => format!("for the reason `{}`", cause.reason.as_str()),
        None => "when nothing is disclosed".into(),
    };
    Err(Fault::error(
        Place::new(source, span),
        format!("the document is not valid JSON: {error}"),
    )
    .expected(format!("{case} this becomes `{}`", line.trim()))
    .help("text stands in quotes, as in \"host\": \"{{ host }}\"; the numbers `status` and `error_code` do not"))
}
