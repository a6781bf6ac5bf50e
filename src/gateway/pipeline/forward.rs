//! A permitted request's way to its origin, and the response's way back.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
};
use tokio::time::{Instant, timeout_at};

use super::{Arrival, Checked, Gateway, Known, decide::Permitted};
use crate::{
    config::settings::UpstreamProtocol,
    gateway::{
        answer::{AnswerBody, OpenRecord},
        connection::{Close, RequestBody, Switched},
        failures::{Failure, upstream_failure},
        headers::{ForOrigin, remove_hop_by_hop_of_response},
        tunnel,
        upload::{BoundedBody, Trailers},
    },
    represent::grpc,
    snapshot::CompiledSite,
    telemetry::metrics::OpenTunnel,
    upstream::{Answer, Destination, Forwarded, OriginBody, Outgoing, Quota, Tunnel, Upload},
};

impl Gateway {
    /// Sends a permitted request to its origin and gives back what comes of it.
    pub(super) async fn forward(
        &self,
        arrival: Arrival<'_>,
        checked: Checked,
        parts: Parts,
        mut body: RequestBody,
        permitted: Permitted,
        mut record: OpenRecord,
    ) -> Result<Response<AnswerBody>, Close> {
        let Permitted { destination, since } = permitted;
        let asker = Asker::of(&parts);
        let switching = body.take_switched();
        let outgoing = match arrival.outgoing(&checked, parts, body, &record) {
            Ok(outgoing) => outgoing,
            Err(failure) => return arrival.fail(&checked, &asker, record, failure),
        };
        record.asked = Some(checked.site.clone());
        let deadline = arrival.deadline();
        let asked = self.ask(
            &checked.site,
            destination,
            outgoing,
            &arrival,
            deadline,
            Instant::from_std(since),
        );
        let (forwarded, took) = match asked.await {
            Ok(forwarded) => forwarded,
            Err(failure) => return arrival.fail(&checked, &asker, record, failure),
        };
        record.upstream_took = Some(took);
        record.server = Some(forwarded.server);
        match (forwarded.answer, switching) {
            (Answer::Response(response), _) => Ok(arrival.pass(response, record, deadline)),
            (Answer::Switched { head, tunnel }, Some(client)) => {
                let open = self.telemetry.metrics().tunnel(self.telemetry.index());
                Ok(arrival.switch(head, tunnel, client, record, open))
            }
            (Answer::Switched { .. }, None) => arrival.fail(&checked, &asker, record, Failure::UNASKED_SWITCH),
        }
    }

    async fn ask(
        &self,
        site: &CompiledSite,
        destination: Destination,
        outgoing: Outgoing,
        arrival: &Arrival<'_>,
        deadline: Option<Instant>,
        began: Instant,
    ) -> Result<(Forwarded, Duration), Failure> {
        let name = &site.origin.settings().name;
        let meter = arrival.terms.upstream(name);
        let quota = Quota {
            connections: arrival.terms.snapshot.settings.limits.upstream_connections,
            meter: meter.map(|meter| (meter, self.telemetry.index())),
        };
        let asked = self
            .upstreams
            .forward(destination, &site.origin, outgoing, quota, began);
        let forwarded = match deadline {
            None => asked.await,
            Some(deadline) => timeout_at(deadline, asked)
                .await
                .map_err(|_elapsed| Failure::TOTAL_TIMEOUT)?,
        };
        match forwarded {
            Ok(forwarded) => {
                let took = began.elapsed();
                if let Some(meter) = meter {
                    meter.answered(self.telemetry.index(), took);
                }
                Ok((forwarded, took))
            }
            Err(error) => {
                if let (Some(meter), Some(failure)) = (meter, upstream_failure(&error)) {
                    meter.failed(self.telemetry.index(), failure);
                }
                tracing::debug!(upstream = %name, %error, "no answer from the origin");
                Err(Failure::from(&error))
            }
        }
    }
}

/// What remains of a head that has gone to the origin: enough to refuse its client after all.
struct Asker {
    method: Method,
    accept: Vec<HeaderValue>,
    fetch_mode: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl Asker {
    fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            accept: parts.headers.get_all(ACCEPT).iter().cloned().collect(),
            fetch_mode: parts.headers.get(SEC_FETCH_MODE).cloned(),
            content_type: parts.headers.get(CONTENT_TYPE).cloned(),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for accept in &self.accept {
            headers.append(ACCEPT, accept.clone());
        }
        if let Some(mode) = &self.fetch_mode {
            headers.insert(SEC_FETCH_MODE, mode.clone());
        }
        if let Some(media_type) = &self.content_type {
            headers.insert(CONTENT_TYPE, media_type.clone());
        }
        headers
    }
}

impl Arrival<'_> {
    /// When `limits.total_timeout` is over.
    fn deadline(&self) -> Option<Instant> {
        let total: Option<Duration> = self.terms.snapshot.settings.limits.total_timeout;
        total.map(|total| Instant::from_std(self.started) + total)
    }

    /// The request as the origin gets it.
    fn outgoing(
        &self,
        checked: &Checked,
        mut parts: Parts,
        body: RequestBody,
        record: &OpenRecord,
    ) -> Result<Outgoing, Failure> {
        let facts = ForOrigin {
            trust: self.trust,
            way: &checked.way,
            tls: checked.tls,
            host: &checked.head.host,
            request_id: &self.id,
            country: checked.client.geo.country,
        };
        let conversation = self.conversation(checked, &parts.headers);
        let body = match conversation {
            Some(_) => body.of_conversation(),
            None => body,
        };
        let trailers = Trailers::after(&parts.headers);
        let ours = self.terms.snapshot.headers.for_origin(&mut parts.headers, &facts);
        let body = match http_body::Body::is_end_stream(&body) {
            true => None,
            false => {
                let bounded = BoundedBody::new(body, trailers, &self.terms.snapshot, record.uploaded.clone());
                Some(Upload::new(bounded.ok_or(Failure::BODY_TOO_LARGE)?))
            }
        };
        Ok(Outgoing {
            method: parts.method,
            headers: parts.headers,
            ours,
            accepts_trailers: checked.head.accepts_trailers,
            body,
            upgrade: checked.head.upgrade.as_ref().map(|upgrade| upgrade.protocol().clone()),
            conversation,
        })
    }

    /// How long both sides of a gRPC call may be silent. That the client calls it one is not enough: the operator must have
    /// said that the application speaks HTTP/2.
    fn conversation(&self, checked: &Checked, headers: &HeaderMap) -> Option<Duration> {
        let idle = self.terms.snapshot.settings.limits.tunnel_idle_timeout;
        match checked.site.origin.settings().protocol {
            UpstreamProtocol::Http1 => None,
            UpstreamProtocol::Http2 => grpc::is_call(headers).then_some(idle),
        }
    }

    fn fail(
        &self,
        checked: &Checked,
        asker: &Asker,
        mut record: OpenRecord,
        failure: Failure,
    ) -> Result<Response<AnswerBody>, Close> {
        record.failure = Some(failure.reason);
        let answer = self.failed(failure, Known::of(checked), &asker.method, &asker.headers());
        self.refuse(record, answer)
    }

    /// Gives back what the origin answered.
    fn pass(
        &self,
        response: Response<OriginBody>,
        mut record: OpenRecord,
        deadline: Option<Instant>,
    ) -> Response<AnswerBody> {
        let (mut head, body) = response.into_parts();
        if head.headers.contains_key(TRANSFER_ENCODING) {
            // The coding said how long the body is (RFC 9112 §6.3); what the length says is then not to be passed on.
            head.headers.remove(CONTENT_LENGTH);
        }
        remove_hop_by_hop_of_response(&mut head.headers);
        self.terms.dress(&mut head.headers, &self.id);
        record.status = Some(head.status);
        let mut response = Response::new(AnswerBody::origin(body, record, deadline));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }

    /// Gives back the origin's 101, and carries what follows it.
    fn switch(
        &self,
        mut head: Response<()>,
        tunnel: Tunnel,
        client: Switched,
        mut record: OpenRecord,
        open: OpenTunnel,
    ) -> Response<AnswerBody> {
        record.status = Some(StatusCode::SWITCHING_PROTOCOLS);
        let mut headers = std::mem::take(head.headers_mut());
        let protocol = headers.get(UPGRADE).cloned();
        remove_hop_by_hop_of_response(&mut headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(UPGRADE, protocol);
        }
        self.terms.dress(&mut headers, &self.id);
        // The connection that it belongs to ends it: no longer than a tunnel may be silent.
        let idle = self.terms.snapshot.settings.limits.tunnel_idle_timeout;
        tokio::task::spawn_local(async move {
            tunnel::run(client, tunnel, idle, record).await;
            drop(open);
        });
        let mut response = Response::new(AnswerBody::none());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        response
    }
}
