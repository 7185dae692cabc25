//! One question about a live service, one answer: is somebody there, and does he do what he is for? Nothing is changed by
//! asking, and no question takes longer than its limit.

use std::net::SocketAddr;
use std::time::Duration;

use smtp::client::{Client, Endpoint, Limits, Options};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum No {
    /// Nobody is there, or nobody can be reached.
    #[error("{0}")]
    Unreachable(String),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// Something came that is no yes.
    #[error("{0}")]
    Said(String),
}

/// Whether somebody listens.
pub async fn tcp(address: SocketAddr, limit: Duration) -> Result<(), No> {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(No::Unreachable(e.to_string())),
        Err(_) => Err(No::Silent(limit)),
    }
}

/// Whether a mail server greets, and answers a greeting.
pub async fn smtp(address: SocketAddr, limit: Duration) -> Result<(), No> {
    let options = Options { limits: Limits::all(limit), ..Options::new("probe.drill.test") };
    let ask = async {
        let endpoint = Endpoint::Tcp(address, None);
        let client =
            Client::connect(&endpoint, &options).await.map_err(|e| No::Said(e.to_string()))?;
        // Whether it says goodbye nicely is nothing that anybody asked.
        client.quit().await;
        Ok(())
    };
    timeout(limit, ask).await.unwrap_or(Err(No::Silent(limit)))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_is_not_there_and_who_is_no_mail_server_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(tcp(address, LIMIT).await, Ok(()));
        let silent = smtp(address, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(&silent, No::Silent(_) | No::Said(_)), "{silent:?}");
        let busy = async {
            // The first two are of the questions above.
            for _ in 0..2 {
                listener.accept().await.unwrap();
            }
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"554 not today\r\n").await.unwrap();
            stream
        };
        let (answer, _stream) = tokio::join!(smtp(address, LIMIT), busy);
        assert!(answer.unwrap_err().to_string().contains("554 not today"));
        drop(listener);
        assert!(matches!(tcp(address, LIMIT).await, Err(No::Unreachable(_))));
    }
}
