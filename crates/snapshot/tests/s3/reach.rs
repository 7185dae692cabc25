//! What keeps a request from reaching a server at all: names, ports, TLS.

use super::sentences::{open, put};
use crate::servers::Access;
use crate::servers::moto::Moto;
use crate::servers::process::free_port;

#[test]
fn nothing_listens() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let access =
        Access { endpoint: endpoint.clone(), region: "x", id: "i".into(), secret: "s".into() };
    assert_eq!(
        put(&open(&access, |_| ())),
        format!(
            "write key: nothing listens at {endpoint}\n\
             hint: check host and port of the endpoint, and that the server runs"
        )
    );
}

/// A label of 64 characters fails without a question to any name server.
#[test]
fn name_that_does_not_resolve() {
    let endpoint = format!("http://{}.invalid", "x".repeat(64));
    let access =
        Access { endpoint: endpoint.clone(), region: "x", id: "i".into(), secret: "s".into() };
    assert_eq!(
        put(&open(&access, |_| ())),
        format!(
            "write key: the name of {endpoint} could not be resolved\n\
             hint: check the spelling of the endpoint and the name servers of this host"
        )
    );
}

#[test]
fn tls_to_a_server_without_tls() {
    let Some(server) = Moto::start() else { return };
    let endpoint = server.access.endpoint.replace("http:", "https:");
    let access = Access { endpoint: endpoint.clone(), ..server.access.clone() };
    assert_eq!(
        put(&open(&access, |_| ())),
        format!(
            "write key: {endpoint} does not speak TLS\n\
             hint: write the endpoint with http://, or with the port where the server speaks TLS"
        )
    );
}

#[test]
fn certificate_that_nobody_signed() {
    let Some(server) = Moto::start_tls() else { return };
    let endpoint = &server.access.endpoint;
    assert_eq!(
        put(&open(&server.access, |_| ())),
        format!(
            "write key: the certificate of {endpoint} is not trusted: UnknownIssuer\n\
             hint: if the server has a certificate of your own authority, set SSL_CERT_FILE to \
             that authority's PEM file"
        )
    );
    let endpoint = endpoint.replace("https:", "http:");
    let plain = Access { endpoint: endpoint.clone(), ..server.access.clone() };
    assert_eq!(
        put(&open(&plain, |_| ())),
        format!(
            "write key: the connection to {endpoint} broke\n\
             hint: if the server speaks TLS, write the endpoint with https://; else check the \
             network between this host and the server"
        )
    );
}
