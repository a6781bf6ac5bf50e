//! What log collectors put before a line: syslog's headers, and the names of containers.

/// The line without what a collector put before it; `None`: there is nothing of the kind.
pub(super) fn without(line: &str) -> Option<&str> {
    container(line).or_else(|| syslog(line))
}

/// `web-1  | …`, as `docker compose logs` writes it.
fn container(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once(" | ")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (name.len() < 64 && name.trim_end().chars().all(is_name)).then_some(rest)
}

/// RFC 5424, RFC 3164 and what files hold of it, which is without the priority and often with a date of RFC 3339.
fn syslog(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix('<') {
        Some(priority) => priority.split_once('>')?.1,
        None => line,
    };
    match rest.strip_prefix("1 ") {
        Some(rest) => rfc5424(rest),
        None => rfc3164(rest),
    }
}

/// `TIME HOST APP PROCID MSGID STRUCTURED-DATA MESSAGE`
fn rfc5424(rest: &str) -> Option<&str> {
    let data = rest.splitn(6, ' ').nth(5)?;
    let message = match data.strip_prefix('[') {
        None => data.strip_prefix("- ")?,
        Some(_) => {
            let end = data.find("] ")?;
            data.get(end + 2..)?
        }
    };
    Some(message.strip_prefix('\u{feff}').unwrap_or(message))
}

/// `Nov 26 04:12:00 host tag[123]: MESSAGE`
fn rfc3164(rest: &str) -> Option<&str> {
    let begins_with_month = rest
        .get(..3)
        .is_some_and(|month| month.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let after_time = if begins_with_month && rest.as_bytes().get(3) == Some(&b' ') {
        rest.get(16..)?
    } else {
        let (time, rest) = rest.split_once(' ')?;
        super::time::rfc3339(time)?;
        rest
    };
    let (host_and_tag, message) = after_time.split_once(": ")?;
    (host_and_tag.split(' ').count() <= 2).then_some(message)
}
