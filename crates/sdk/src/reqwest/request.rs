//! A request as it is put together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use reqwest::{Body, Request, Response, Result};
use serde::Serialize;

use super::Client;

/// As `reqwest::RequestBuilder`, with a [`template`](RequestBuilder::template).
#[must_use = "a request does nothing until it is sent"]
#[derive(Debug)]
pub struct RequestBuilder {
    client: Client,
    inner: reqwest::RequestBuilder,
    template: Option<Arc<str>>,
}

impl RequestBuilder {
    pub(super) fn new(client: Client, inner: reqwest::RequestBuilder) -> Self {
        Self { client, inner, template: None }
    }

    /// The template that the URL was made from, such as `/cart/{id}`: `url.template`, and part of the span's name.
    pub fn template(mut self, template: impl Into<Arc<str>>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Anything that reqwest can do and this type does not repeat, such as `multipart`.
    pub fn map(mut self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        self.inner = change(self.inner);
        self
    }

    /// As `reqwest::RequestBuilder::header`.
    pub fn header<K, V>(self, key: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.map(|inner| inner.header(key, value))
    }

    /// As `reqwest::RequestBuilder::headers`.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|inner| inner.headers(headers))
    }

    /// As `reqwest::RequestBuilder::basic_auth`.
    pub fn basic_auth(self, user: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
        self.map(|inner| inner.basic_auth(user, password))
    }

    /// As `reqwest::RequestBuilder::bearer_auth`.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.map(|inner| inner.bearer_auth(token))
    }

    /// As `reqwest::RequestBuilder::body`.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|inner| inner.body(body))
    }

    /// As `reqwest::RequestBuilder::timeout`.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|inner| inner.timeout(timeout))
    }

    /// As `reqwest::RequestBuilder::version`.
    pub fn version(self, version: Version) -> Self {
        self.map(|inner| inner.version(version))
    }

    /// As `reqwest::RequestBuilder::query`.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|inner| inner.query(query))
    }

    /// As `reqwest::RequestBuilder::form`.
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        self.map(|inner| inner.form(form))
    }

    /// As `reqwest::RequestBuilder::json`.
    pub fn json<T: Serialize + ?Sized>(self, json: &T) -> Self {
        self.map(|inner| inner.json(json))
    }

    /// As `reqwest::RequestBuilder::try_clone`.
    pub fn try_clone(&self) -> Option<Self> {
        let inner = self.inner.try_clone()?;
        Some(Self { client: self.client.clone(), inner, template: self.template.clone() })
    }

    /// The request, without sending it.
    ///
    /// # Errors
    ///
    /// What was wrong with a URL, header or body given before.
    pub fn build(self) -> Result<Request> {
        self.inner.build()
    }

    /// Sends the request under a span of its own.
    ///
    /// # Errors
    ///
    /// Those of `reqwest::RequestBuilder::send`.
    pub async fn send(self) -> Result<Response> {
        let request = self.inner.build()?;
        self.client.send(request, self.template.as_deref()).await
    }
}
