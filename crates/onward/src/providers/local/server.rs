//! One server of an environment on this machine: a tree with its own agent, proxy and port.

use std::path::{Path, PathBuf};

use onward_core::model::{AppName, EnvironmentName, ServerName};

use super::runtime_dir;

/// One server. A value: nothing is made before its agent is started.
#[derive(Debug, Clone)]
pub struct LocalServer {
    name: ServerName,
    environment: EnvironmentName,
    /// `.onward` of the project, with the documents and bundles that all its servers share.
    home: PathBuf,
    root: PathBuf,
    runtime: PathBuf,
    /// Other environments and apps may be in the same tree.
    shared: bool,
}

impl LocalServer {
    pub(super) fn new(
        name: ServerName,
        environment: EnvironmentName,
        home: PathBuf,
        root: PathBuf,
        runtime: PathBuf,
        shared: bool,
    ) -> Self {
        let runtime = runtime_dir::recorded(&root).unwrap_or(runtime);
        Self { name, environment, home, root, runtime, shared }
    }

    /// Its name in the document.
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// The one environment whose documents its agent follows; none where it follows all.
    pub(super) fn follows(&self) -> Option<&EnvironmentName> {
        (!self.shared).then_some(&self.environment)
    }

    /// Where its proxy is spoken to.
    pub fn proxy_socket(&self) -> PathBuf {
        onward_server::layout::proxy_socket(&self.runtime)
    }

    /// Its tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of its sockets.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// `.onward` of the project.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What its agent prints.
    pub fn agent_log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    /// Where the logs of an app are.
    pub fn logs(&self, app: &AppName) -> PathBuf {
        self.root.join("apps").join(app.as_str()).join(self.environment.as_str()).join("logs")
    }
}
