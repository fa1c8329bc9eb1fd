"""trial"""
import time
import numpy as np, pandas as pd
from brainviz.runs.store import Store

def test_it(finish_concepts, monkeypatch):
    for kw in ({},):
        for eps,m in ((.35,3),(0.4,3),(.42,3),(.45,3),(.5,3),(.42,2),(.42,1),(.01,3),(1.9,3)):
            t=time.time()
            r=finish_concepts(eps=eps,min_participants=m,leave_one_out=False,scanned_eps=(),**kw)
            print(kw,eps,m,round(time.time()-t,1),r.result()["n_concepts"],r.result()["n_noise"], pd.read_parquet(r.file("concepts.parquet"))[["n_vertices","n_participants","share_left"]].round(2).values.tolist()[:6] if r.result()["n_concepts"] else "")
        print([Store().run_of(d).result()["top1"] for d in r.spec.decoders])

    t=time.time(); r=finish_concepts(); print(time.time()-t, r.result(), pd.read_parquet(r.file("concepts.parquet")).T, pd.read_parquet(r.file("scan.parquet")).to_string())
    r=finish_concepts(vertex_threshold=.6,min_participants=2); print(r.result())
    t=time.time(); r=finish_concepts(map_points=50); print(time.time()-t)
