import time
import pytest
VIEWS=("Overview","One concept","Search","Weight space","Choose eps","Decoders","Table")
def said(at):
    return "\n".join(each.value for group in (at.caption, at.info, at.warning, at.markdown, at.error) for each in group)
def test_try(serve, shared_root, finish_concepts, visit):
    t=time.time()
    serve("shared", shared_root)
    print("serve",time.time()-t);t=time.time()
    run=finish_concepts(min_participants=2)
    print("finish",time.time()-t);t=time.time()
    print(run.result())
    for view in VIEWS:
        try:
            at=visit("concepts",dataset="shared",show=view,min_participants="2",find="food", concept="1 x")
        except AssertionError as e:
            print("FAILED",view,str(e)[:200]); continue
        print("----",view,time.time()-t, [e.value for e in at.error]);t=time.time()
        print(said(at)[:1500])
        print([ (s.key,s.value) for s in at.selectbox])
        print(dict(at.query_params))
