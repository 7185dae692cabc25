//! s3s-fs, an S3 server in this process over a folder: no program to install, so the suite always
//! meets at least one server. Requests run one at a time, because s3s-fs looks for the object before
//! it reads the body, where AWS decides at the end: so writers that meet find what they would on AWS.
//! Included apart from `mod.rs` because it needs crates of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::servers::{Access, BUCKET};

/// A running server; stops when dropped.
pub(crate) struct S3s {
    pub(crate) access: Access,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl S3s {
    /// Serves an empty bucket.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a folder can be made");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("a folder can be served");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ID, SECRET));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let listener = runtime
            .block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))))
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let turn = Arc::new(Mutex::new(()));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, turn) = (service.clone(), Arc::clone(&turn));
                let answer = service_fn(move |request: hyper::Request<Incoming>| {
                    let (service, turn) = (service.clone(), Arc::clone(&turn));
                    async move {
                        let _turn = turn.lock().await;
                        service.call(request.map(s3s::Body::from)).await
                    }
                });
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        let access = Access {
            endpoint: format!("http://{address}"),
            region: "us-east-1",
            id: ID.into(),
            secret: SECRET.into(),
        };
        Self { access, _runtime: runtime, _folder: folder }
    }
}

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
