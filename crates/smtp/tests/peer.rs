//! A server that follows a script: it says what it is told to say and hears exactly what it expects.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the peer does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Waits for exactly these bytes.
    Hear(String),
    /// Sends these.
    Say(Vec<u8>),
    /// Closes the connection; nothing follows.
    Close,
    /// Says nothing more until the client goes.
    Hang,
}

pub(crate) fn hear(text: &str) -> Step {
    Step::Hear(text.to_owned())
}

pub(crate) fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

/// A peer on loopback, for one connection. What it returns is everything that it heard.
pub(crate) async fn start(script: Vec<Step>) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        follow(stream, script).await
    });
    (address, peer)
}

async fn follow(mut stream: TcpStream, script: Vec<Step>) -> Vec<u8> {
    let mut heard = Vec::new();
    for step in script {
        match step {
            Step::Hear(expected) => {
                let mut bytes = vec![0; expected.len()];
                if stream.read_exact(&mut bytes).await.is_err() {
                    return heard;
                }
                assert_eq!(String::from_utf8_lossy(&bytes), expected);
                heard.extend(bytes);
            }
            Step::Say(bytes) => {
                // The client may have gone: what it makes of it is what the test looks at.
                if stream.write_all(&bytes).await.is_err() {
                    return heard;
                }
            }
            Step::Close => return heard,
            Step::Hang => break,
        }
    }
    let _ = stream.read_to_end(&mut heard).await;
    heard
}
