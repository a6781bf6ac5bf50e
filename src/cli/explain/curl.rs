//! A curl command line as the request that curl would send, as far as rules can tell.

use std::{collections::BTreeSet, net::IpAddr};

use http::{HeaderName, HeaderValue, Method, Version, header};

use super::{
    curl_options::{SEEN_WITH_VALUE, SHORT, SHORT_WITH_VALUE, UNSEEN, UNSEEN_WITH_VALUE},
    request::{Asked, Stated},
};

/// What a curl line says.
#[derive(Default)]
struct Curl {
    url: Option<String>,
    method: Option<String>,
    headers: Vec<String>,
    /// The type of the body that is sent, if one is.
    body: Option<&'static str>,
    /// What `-d` gives, for `-G`.
    data: Vec<String>,
    /// More arguments of the query.
    query: Vec<String>,
    get: bool,
    json: bool,
    authorization: Option<String>,
    target: Option<String>,
    version: Option<Version>,
    compressed: bool,
    as_is: bool,
    interface: Option<IpAddr>,
    /// Headers that curl sends with values that nobody knows.
    withheld: Vec<String>,
    /// Options that rules cannot see.
    unseen: BTreeSet<String>,
    unknown: Vec<String>,
    remarks: Vec<String>,
}

/// Reads the words of a command line, `curl` itself or not.
///
/// # Errors
/// Options that are not known, all of them; or what is missing of a request.
pub(super) fn read(words: &[String]) -> Result<Asked, String> {
    let mut curl = Curl::default();
    let mut words = words.iter().map(String::as_str).peekable();
    words.next_if(|word| *word == "curl" || word.ends_with("/curl") || *word == "curl.exe");
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            curl.long(long, &mut words)?;
        } else if let Some(short) = word
            .strip_prefix('-')
            .filter(|short| !short.is_empty() && *short != "-")
        {
            curl.short(short, &mut words)?;
        } else if word != "--" {
            curl.address(word)?;
        }
    }
    curl.asked()
}

impl Curl {
    /// As curl would send it.
    fn asked(mut self) -> Result<Asked, String> {
        self.check_known()?;
        let url = self.with_query(self.url.clone().ok_or("the curl line has no URL")?);
        let (get, has_body) = (self.get, self.body.is_some());
        let method = match (self.method.take(), has_body && !get) {
            (Some(method), _) => method,
            (None, true) => "POST".to_owned(),
            (None, false) => "GET".to_owned(),
        };
        let url = match &self.target {
            None => url,
            Some(target) => with_target(&url, target),
        };
        if !self.as_is && self.target.is_none() && has_dot_segments(&url) {
            self.remarks
                .push("curl removes `..` from a URL unless told --path-as-is; here it is taken as written".to_owned());
        }
        let mut asked = Asked::new(&url, &method, &self.headers, self.version)?;
        let accept = if self.json { "application/json" } else { "*/*" };
        let encodings = self.compressed.then_some("deflate, gzip, br, zstd");
        let defaults = [
            (header::USER_AGENT, Some("curl/8")),
            (header::ACCEPT, Some(accept)),
            (header::ACCEPT_ENCODING, encodings),
            (header::CONTENT_TYPE, self.body.filter(|_| !get)),
            (header::AUTHORIZATION, self.authorization.as_deref()),
        ];
        for (name, value) in defaults {
            if let Some(value) = value
                && !asked.parts.headers.contains_key(&name)
            {
                // Base64 and our own words are always header values.
                let headers = &mut asked.parts.headers;
                headers.extend(HeaderValue::from_str(value).map(|value| (name, value)));
            }
        }
        remove_empty(&mut asked);
        if asked.parts.method == Method::HEAD || asked.parts.method == Method::GET {
            asked.parts.headers.remove(header::CONTENT_LENGTH);
        }
        Ok(Asked {
            stated: Stated::Curl,
            peer: self.interface,
            remarks: self.all_remarks(),
            withheld: self.withheld,
            ..asked
        })
    }

    fn check_known(&self) -> Result<(), String> {
        match self.unknown.as_slice() {
            [] => Ok(()),
            [one] => Err(format!(
                "the curl option {one} is not understood here; leave it out if rules cannot see it"
            )),
            many => Err(format!(
                "these curl options are not understood here: {}; leave them out if rules cannot see them",
                many.join(", ")
            )),
        }
    }

    fn all_remarks(&self) -> Vec<String> {
        let unseen: Vec<&str> = self.unseen.iter().map(String::as_str).collect();
        let unseen =
            (!unseen.is_empty()).then(|| format!("not looked at, since no rule can see them: {}", unseen.join(", ")));
        self.remarks.iter().cloned().chain(unseen).collect()
    }

    /// `-G` puts the data into the query.
    fn with_query(&self, url: String) -> String {
        let data = self.data.iter().filter(|_| self.get);
        let more: Vec<&str> = data.chain(&self.query).map(String::as_str).collect();
        if more.is_empty() {
            return url;
        }
        let (url, _fragment) = url.split_once('#').unwrap_or((&url, ""));
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}{}", more.join("&"))
    }

    fn address(&mut self, url: &str) -> Result<(), String> {
        match self.url.replace(url.to_owned()) {
            None => Ok(()),
            // The value of an option that is not known looks like one.
            Some(_) if !self.unknown.is_empty() => Ok(()),
            Some(first) => Err(format!(
                "one request at a time: both `{first}` and `{url}` look like URLs"
            )),
        }
    }

    /// `-kX POST`, `-XPOST`
    fn short<'w>(&mut self, letters: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            if let Some((_, long)) = SHORT_WITH_VALUE.iter().find(|(short, _)| *short == letter) {
                let attached = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
                let value = attached.or_else(|| words.next());
                let value = value.ok_or_else(|| format!("-{letter} needs a value"))?;
                return self.set(long, value, &format!("-{letter}"));
            }
            match SHORT.iter().find(|(short, _)| *short == letter) {
                Some((_, long)) => self.flag(long, &format!("-{letter}"))?,
                None => self.unknown.push(format!("-{letter}")),
            }
        }
        Ok(())
    }

    fn long<'w>(&mut self, option: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        let (name, attached) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if is_one_of(SEEN_WITH_VALUE, name) || is_one_of(UNSEEN_WITH_VALUE, name) {
            let value = attached.or_else(|| words.next());
            let value = value.ok_or_else(|| format!("--{name} needs a value"))?;
            return self.set(name, value, &format!("--{name}"));
        }
        self.flag(name, &format!("--{name}"))
    }

    fn flag(&mut self, name: &str, written: &str) -> Result<(), String> {
        match name {
            "head" => self.method = Some("HEAD".to_owned()),
            "get" => self.get = true,
            "compressed" => self.compressed = true,
            "path-as-is" => self.as_is = true,
            "http1.0" => self.version = Some(Version::HTTP_10),
            "http1.1" => self.version = Some(Version::HTTP_11),
            "http2" | "http2-prior-knowledge" => self.version = Some(Version::HTTP_2),
            "http3" | "http3-only" => {
                self.remarks.push("HTTP/3 is not served: judged as HTTP/2".to_owned());
                self.version = Some(Version::HTTP_2);
            }
            "next" => return Err("one request at a time: what follows --next is another one".to_owned()),
            "digest" | "ntlm" | "negotiate" | "anyauth" | "netrc" | "netrc-optional" => {
                self.remarks
                    .push(format!("{written}: what curl then sends as Authorization is not known"));
                self.withheld.push("authorization".to_owned());
            }
            name if is_one_of(UNSEEN, name) || name.strip_prefix("no-").is_some_and(|name| is_one_of(UNSEEN, name)) => {
                self.unseen.insert(written.to_owned());
            }
            _ => self.unknown.push(written.to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, option: &str, value: &str, written: &str) -> Result<(), String> {
        match option {
            "request" => self.method = Some(value.to_owned()),
            "request-target" => self.target = Some(value.to_owned()),
            "header" if value.starts_with('@') => {
                return Err(format!(
                    "{written} {value}: the headers of a file are not read; write them out"
                ));
            }
            "header" => self.headers.push(value.to_owned()),
            "user-agent" => self.headers.push(format!("User-Agent: {value}")),
            "referer" => {
                let referer = value.split(";auto").next().unwrap_or_default();
                self.headers.push(format!("Referer: {referer}"));
            }
            "range" => self.headers.push(format!("Range: bytes={value}")),
            "cookie" if !value.contains('=') => {
                self.remarks
                    .push(format!("{written} {value}: the cookies of a file are not read"));
                self.withheld.push("cookie".to_owned());
            }
            "cookie" => self.headers.push(format!("Cookie: {value}")),
            "user" => self.authorization = Some(format!("Basic {}", base64(value.as_bytes()))),
            "oauth2-bearer" => self.authorization = Some(format!("Bearer {value}")),
            "aws-sigv4" => {
                self.remarks
                    .push(format!("{written}: the signature that curl then sends is not known"));
                self.withheld.push("authorization".to_owned());
            }
            "data" | "data-raw" | "data-binary" | "data-ascii" => self.form(value.to_owned()),
            "data-urlencode" => self.form(url_encoded(value)),
            "url-query" => self.query.push(match value.strip_prefix('+') {
                Some(raw) => raw.to_owned(),
                None => url_encoded(value),
            }),
            "json" => {
                self.body = Some("application/json");
                self.json = true;
                self.data.push(value.to_owned());
            }
            // curl makes up a new boundary for every request.
            "form" | "form-string" => self.body = Some("multipart/form-data; boundary=------------------------0"),
            "upload-file" => {
                self.method.get_or_insert_with(|| "PUT".to_owned());
            }
            "url" => self.address(value)?,
            "interface" => match value.parse() {
                Ok(address) => self.interface = Some(address),
                Err(_) => self
                    .remarks
                    .push(format!("{written} {value} is no address: say who asks with --ip")),
            },
            "config" => {
                return Err(format!(
                    "{written} {value}: a file of options is not read; write them out"
                ));
            }
            _ => {
                self.unseen.insert(written.to_owned());
            }
        }
        Ok(())
    }

    fn form(&mut self, data: String) {
        self.body = Some("application/x-www-form-urlencoded");
        self.data.push(data);
    }
}

/// `-H 'Name:'` takes a header away.
fn remove_empty(asked: &mut Asked) {
    let headers = std::mem::take(&mut asked.parts.headers);
    let mut last: Option<HeaderName> = None;
    for (name, value) in headers {
        last = name.or(last.take());
        if let (Some(name), false) = (&last, value.is_empty()) {
            asked.parts.headers.append(name.clone(), value);
        }
    }
}

/// The URL with another target.
fn with_target(url: &str, target: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    format!("{}{target}", &url[..end])
}

fn has_dot_segments(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// As `--data-urlencode` encodes: `content`, `=content`, or `name=content`.
fn url_encoded(written: &str) -> String {
    let encoded =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    match written.split_once('=') {
        Some(("", content)) => encoded(content),
        Some((name, content)) => format!("{name}={}", encoded(content)),
        None => encoded(written),
    }
}

fn is_one_of(options: &[&str], name: &str) -> bool {
    options.contains(&name)
}

/// As `Authorization: Basic` carries a name and a password.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| chunk.get(at).copied().map_or(0, u32::from);
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            text.push(match at <= chunk.len() {
                true => char::from(ALPHABET[(group >> (18 - 6 * at)) as usize % 64]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curl(line: &str) -> Result<Asked, String> {
        read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn header(line: &str, name: &str) -> Option<String> {
        let asked = curl(line).expect("a request");
        let value = asked.parts.headers.get(name);
        value.map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn a_curl_line_is_read_as_curl_would_send_it() {
        let line = "curl -skXPOST -A sqlmap -e https://evil.example/ -H X-A:1 https://example.com/../a?b#c";
        let asked = curl(line).expect("a request");
        assert_eq!(asked.to_string(), "POST https://example.com/../a?b");
        for (name, value) in [
            ("user-agent", "sqlmap"),
            ("referer", "https://evil.example/"),
            ("x-a", "1"),
            ("accept", "*/*"),
        ] {
            assert_eq!(header(line, name).as_deref(), Some(value));
        }
        assert_eq!(
            asked.remarks,
            [
                "curl removes `..` from a URL unless told --path-as-is; here it is taken as written",
                "not looked at, since no rule can see them: -k, -s",
            ]
        );
    }

    #[test]
    fn what_rules_can_see_of_a_curl_line_is_not_dropped() {
        for (line, name, value) in [
            ("curl -u a:b x", "authorization", Some("Basic YTpi")),
            ("curl --oauth2-bearer t x", "authorization", Some("Bearer t")),
            (
                "curl -d a=b x",
                "content-type",
                Some("application/x-www-form-urlencoded"),
            ),
            (
                "curl -d a=b -H content-type:text/csv x",
                "content-type",
                Some("text/csv"),
            ),
            ("curl --json {} x", "content-type", Some("application/json")),
            ("curl --json {} x", "accept", Some("application/json")),
            (
                "curl --compressed x",
                "accept-encoding",
                Some("deflate, gzip, br, zstd"),
            ),
            ("curl -r 0-9 x", "range", Some("bytes=0-9")),
            ("curl -b a=b x", "cookie", Some("a=b")),
            ("curl -G -d a=b x", "content-type", None),
            ("curl x", "content-type", None),
        ] {
            assert_eq!(header(line, name).as_deref(), value, "{line}");
        }
        let form = header("curl -F a=b x", "content-type").expect("a type");
        assert!(form.starts_with("multipart/form-data; boundary="), "{form}");
        let version = |line: &str| curl(line).expect("a request").parts.version;
        assert_eq!(version("curl -0 https://x/"), Version::HTTP_10);
        assert_eq!(version("curl --http1.1 https://x/"), Version::HTTP_11);
        let shown = |line: &str| curl(line).expect("a request").to_string();
        assert_eq!(
            shown("curl -G -d a=b --data-urlencode c=d/e x/?y"),
            "GET http://x/?y&a=b&c=d%2Fe"
        );
        assert_eq!(
            shown("curl --request-target /a/../b https://x/y?z"),
            "GET https://x/a/../b"
        );
        assert_eq!(shown("curl -T file https://x/y"), "PUT https://x/y");
        let peer = curl("curl --interface 127.0.0.66 x").expect("a request").peer;
        assert_eq!(peer, Some(IpAddr::from([127, 0, 0, 66])));
    }

    #[test]
    fn data_means_post_and_an_empty_header_takes_it_away() {
        let asked = curl("curl --data=x -H User-Agent: example.com").expect("a request");
        assert_eq!(asked.parts.method, Method::POST);
        assert!(!asked.parts.headers.contains_key(header::USER_AGENT));
        assert!(!asked.tls);
    }

    #[test]
    fn what_curl_would_look_up_is_not_known() {
        let asked = curl("curl -b cookies.txt -n https://x/").expect("a request");
        assert_eq!(asked.withheld, ["cookie", "authorization"]);
        assert_eq!(asked.remarks.len(), 2);
    }

    #[test]
    fn what_cannot_be_judged_is_said() {
        for (line, part) in [
            ("curl", "no URL"),
            ("curl a b", "one request at a time"),
            ("curl a --next b", "one request at a time"),
            (
                "curl --frobnicate -Q --more x",
                "not understood here: --frobnicate, -Q, --more",
            ),
            ("curl ftp://x/", "`ftp://` is not served"),
            ("curl -X", "-X needs a value"),
            ("curl -H @file x", "headers of a file are not read"),
            ("curl -K file", "a file of options is not read"),
        ] {
            let said = curl(line).expect_err(line);
            assert!(said.contains(part), "{line}: {said}");
        }
    }
}
