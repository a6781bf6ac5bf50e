//! A request made up from options or a curl command line.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

pub(super) use crate::policy::described::Asked;

/// What a curl line says beside the URL.
#[derive(Default)]
struct Curl {
    url: Option<String>,
    method: Option<String>,
    headers: Vec<String>,
    /// The type of the body that is sent, if one is.
    body: Option<&'static str>,
    json: bool,
    authorization: Option<String>,
    version: Option<Version>,
}

impl Asked {
    pub(super) fn from_options(url: &str, method: Option<&str>, headers: &[String]) -> Result<Self, String> {
        stated(url, method.unwrap_or("GET"), headers, None)
    }

    /// As curl would send it, as far as rules can tell.
    pub(super) fn from_curl(words: &[String]) -> Result<Self, String> {
        let curl = Curl::read(words)?;
        let url = curl.url.ok_or("the curl line has no URL")?;
        let method = curl
            .method
            .unwrap_or_else(|| if curl.body.is_some() { "POST" } else { "GET" }.to_owned());
        let mut asked = stated(&url, &method, &curl.headers, curl.version)?;
        let accept = if curl.json { "application/json" } else { "*/*" };
        let defaults = [
            (header::USER_AGENT, Some("curl/8")),
            (header::ACCEPT, Some(accept)),
            (header::CONTENT_TYPE, curl.body),
            (header::AUTHORIZATION, curl.authorization.as_deref()),
        ];
        for (name, value) in defaults {
            if let Some(value) = value
                && !asked.parts.headers.contains_key(&name)
            {
                // Base64 and our own words are always header values.
                asked
                    .parts
                    .headers
                    .extend(HeaderValue::from_str(value).map(|value| (name, value)));
            }
        }
        // `-H 'Name:'` takes a header away.
        asked.parts.headers = asked.parts.headers.into_iter().fold(HeaderMap::new(), {
            let mut last: Option<HeaderName> = None;
            move |mut kept, (name, value)| {
                last = name.or(last.take());
                if let (Some(name), false) = (&last, value.is_empty()) {
                    kept.append(name.clone(), value);
                }
                kept
            }
        });
        Ok(asked)
    }
}

fn stated(url: &str, method: &str, lines: &[String], version: Option<Version>) -> Result<Asked, String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = header_line(line)?;
        headers.append(name, value);
    }
    Asked::new(url, method, headers, version)
}

fn header_line(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    // curl: `Name;` is a header without a value.
    let (name, value) = line
        .split_once(':')
        .or_else(|| line.strip_suffix(';').map(|name| (name, "")))
        .ok_or_else(|| format!("`{line}` is no header; write 'Name: value'"))?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| format!("`{name}` is no header name"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| format!("`{value}` is no header value"))?;
    Ok((name, value))
}

impl Curl {
    fn read(words: &[String]) -> Result<Self, String> {
        let mut curl = Self::default();
        let mut words = words.iter().map(String::as_str);
        let mut first = true;
        while let Some(word) = words.next() {
            if std::mem::take(&mut first) && word == "curl" {
                continue;
            }
            if let Some(long) = word.strip_prefix("--") {
                curl.long(long, &mut words)?;
            } else if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
                curl.short(short, &mut words)?;
            } else {
                curl.address(word)?;
            }
        }
        Ok(curl)
    }

    fn address(&mut self, url: &str) -> Result<(), String> {
        match self.url.replace(url.to_owned()) {
            None => Ok(()),
            Some(first) => Err(format!(
                "one request at a time: both `{first}` and `{url}` look like URLs"
            )),
        }
    }

    /// `-kX POST`, `-XPOST`
    fn short<'w>(&mut self, letters: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            if let Some(long) = with_value(letter) {
                let attached = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
                let value = attached.or_else(|| words.next());
                return self.set(long, value.ok_or_else(|| format!("-{letter} needs a value"))?);
            }
            match letter {
                'I' => self.method = Some("HEAD".to_owned()),
                'k' | 's' | 'S' | 'v' | 'i' | 'L' | 'f' | 'N' | '#' | '4' | '6' | 'O' | 'g' => {}
                '0' => self.version = Some(Version::HTTP_10),
                _ => return Err(unknown(&format!("-{letter}"))),
            }
        }
        Ok(())
    }

    fn long<'w>(&mut self, option: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        match option {
            "head" => self.method = Some("HEAD".to_owned()),
            "http1.0" => self.version = Some(Version::HTTP_10),
            "http1.1" => self.version = Some(Version::HTTP_11),
            "http2" | "http2-prior-knowledge" => self.version = Some(Version::HTTP_2),
            "insecure" | "silent" | "show-error" | "verbose" | "include" | "location" | "compressed" | "path-as-is"
            | "fail" | "no-buffer" | "globoff" => {}
            _ => {
                let (option, attached) = match option.split_once('=') {
                    Some((option, value)) => (option, Some(value)),
                    None => (option, None),
                };
                if !WITH_VALUE.contains(&option) {
                    return Err(unknown(&format!("--{option}")));
                }
                let value = attached.or_else(|| words.next());
                self.set(option, value.ok_or_else(|| format!("--{option} needs a value"))?)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        match option {
            "request" => self.method = Some(value.to_owned()),
            "header" => self.headers.push(value.to_owned()),
            "user-agent" => self.headers.push(format!("User-Agent: {value}")),
            "referer" => self.headers.push(format!("Referer: {value}")),
            "cookie" => self.headers.push(format!("Cookie: {value}")),
            "user" => self.authorization = Some(format!("Basic {}", base64(value.as_bytes()))),
            "data" | "data-raw" | "data-binary" => self.body = Some("application/x-www-form-urlencoded"),
            "json" => {
                self.body = Some("application/json");
                self.json = true;
            }
            // curl makes up a new boundary for every request.
            "form" => self.body = Some("multipart/form-data; boundary=------------------------0"),
            "url" => self.address(value)?,
            // Where the connection goes and what becomes of the answer is not judged.
            _ => {}
        }
        Ok(())
    }
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

const WITH_VALUE: [&str; 21] = [
    "request",
    "header",
    "user-agent",
    "referer",
    "cookie",
    "data",
    "data-raw",
    "data-binary",
    "json",
    "form",
    "url",
    "user",
    "output",
    "max-time",
    "connect-timeout",
    "resolve",
    "connect-to",
    "cacert",
    "write-out",
    "proxy",
    "interface",
];

fn with_value(letter: char) -> Option<&'static str> {
    Some(match letter {
        'X' => "request",
        'H' => "header",
        'A' => "user-agent",
        'e' => "referer",
        'b' => "cookie",
        'd' => "data",
        'F' => "form",
        'u' => "user",
        'o' => "output",
        'm' => "max-time",
        'w' => "write-out",
        'x' => "proxy",
        _ => return None,
    })
}

fn unknown(option: &str) -> String {
    format!("the curl option {option} is not understood here; leave it out if rules cannot see it")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn curl(line: &str) -> Result<Asked, String> {
        Asked::from_curl(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_curl_line_is_read_as_curl_would_send_it() {
        let asked = curl("curl -skXPOST -A sqlmap -e https://evil.example/ -H X-A:1 https://example.com/../a?b#c")
            .expect("a request");
        assert_eq!(asked.to_string(), "POST https://example.com/../a?b");
        let header = |name: &str| asked.parts.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("user-agent"), Some("sqlmap"));
        assert_eq!(header("referer"), Some("https://evil.example/"));
        assert_eq!(header("x-a"), Some("1"));
        assert_eq!(header("accept"), Some("*/*"));
    }

    #[test]
    fn what_rules_can_see_of_a_curl_line_is_not_dropped() {
        let header = |line: &str, name: &str| {
            let asked = curl(line).expect("a request");
            asked
                .parts
                .headers
                .get(name)
                .map(|value| value.to_str().expect("text").to_owned())
        };
        for (line, name, value) in [
            ("curl -u a:b x", "authorization", Some("Basic YTpi")),
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
            ("curl x", "content-type", None),
        ] {
            assert_eq!(header(line, name).as_deref(), value, "{line}");
        }
        let form = header("curl -F a=b x", "content-type").expect("a type");
        assert!(form.starts_with("multipart/form-data; boundary="), "{form}");
        let version = |line: &str| curl(line).expect("a request").parts.version;
        assert_eq!(version("curl -0 https://x/"), Version::HTTP_10);
        assert_eq!(version("curl --http1.0 x"), Version::HTTP_10);
        assert_eq!(version("curl --http1.1 https://x/"), Version::HTTP_11);
    }

    #[test]
    fn data_means_post_and_an_empty_header_takes_it_away() {
        let asked = curl("curl --data=x -H User-Agent: example.com").expect("a request");
        assert_eq!(asked.parts.method, Method::POST);
        assert!(!asked.parts.headers.contains_key(header::USER_AGENT));
        assert!(!asked.tls);
    }

    #[test]
    fn what_cannot_be_judged_is_said() {
        for (line, part) in [
            ("curl", "no URL"),
            ("curl a b", "one request at a time"),
            ("curl --frobnicate x", "--frobnicate is not understood"),
            ("curl ftp://x/", "`ftp://` is not served"),
            ("curl -X", "-X needs a value"),
        ] {
            let said = curl(line).expect_err(line);
            assert!(said.contains(part), "{line}: {said}");
        }
    }
}
